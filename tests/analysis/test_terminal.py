"""A report's sections on a terminal: every text is there, and a table fits 80 columns wherever its words do."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from analysis.report.document import Details, Grid, Link, Paragraph, Points, Section
from analysis.report.terminal import WIDTH, terminal_parts

WORDS = st.text("abcdef123", min_size=1, max_size=9)
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


def printed(*blocks):
    """The lines that a wide console shows of the blocks of one section."""
    console = Console(file=io.StringIO(), width=500)
    for part in terminal_parts([Section("Title", blocks, "anchor")]):
        console.print(part, markup=False)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@st.composite
def grids(draw):
    """A table of up to 6 columns, some of whose places, or whole columns, may be empty."""
    width = draw(st.integers(1, 6))
    head = tuple(draw(st.lists(TEXTS, min_size=width, max_size=width)))
    cell = st.one_of(st.just(""), WORDS, WORDS.map(lambda text: Link(text, "#x")))
    return Grid(head, tuple(draw(st.lists(st.tuples(*[cell] * width), min_size=1, max_size=4))))


@pytest.mark.slow
@given(grids())
def test_a_table_shows_each_entry_and_fits_the_terminal(grid):
    lines = printed(grid)
    assert max(map(len, lines)) <= WIDTH
    rows = [[one.text if isinstance(one, Link) else one for one in row] for row in grid.rows]
    filled = [place for place in range(len(grid.head)) if any(row[place] for row in rows)]
    if filled:
        assert [line.split() for line in lines[-len(rows) :]] == [[cell for cell in row if cell] for row in rows]
    shown = " ".join(lines).split()
    for place in filled:
        assert set(grid.head[place].split()) <= set(shown)


def test_ten_columns_of_numbers_fit_and_numbers_stand_on_the_right():
    head = ("method", "batch", "length", *["memory at its peak"] * 7)
    lines = printed(Grid(head, (("full fine-tuning", "8", "512", *["12,345"] * 7), ("LoRA", "64", "32", *["9"] * 7))))
    assert max(map(len, lines)) <= WIDTH
    assert lines[-1].endswith("     9")


def test_texts_lists_and_sections_below_stand_in_order_without_markup():
    inner = Section("Below", (Points(("a*b", "[c]")),), "below")
    parts = list(terminal_parts([Section("Above", (Paragraph("x_y"), Details("more", "text")), "above", (inner,))]))
    assert parts == ["Above\n─────", "x_y", "more\ntext", "Below\n─────", "- a*b\n- [c]"]
