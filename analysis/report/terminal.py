"""A report's sections for a terminal: texts, and tables narrow enough for 80 columns. Figures are left out."""

from collections.abc import Iterator, Sequence

import rich.box
import rich.table
from rich.text import Text

from analysis.report.document import Block, Details, Grid, Inline, Link, Paragraph, Points, Section
from analysis.tables.table import Table, terminal
from tunekit.parsing import plain

WIDTH, WIDEST_CELL = 80, 40
"""The columns of a terminal that a table should fit, and that a cell takes at most."""
GAPS = {3: (0, 1), 1: (0, 0)}
"""The columns between two columns of a table, the wider one first, and rich's padding that makes them."""


def terminal_parts(sections: Sequence[Section]) -> Iterator[str | rich.table.Table]:
    """Yield the titles, texts and tables of ``sections`` and of the sections below them, in order."""
    for section in sections:
        yield f"{section.title}\n{'─' * len(section.title)}"
        for block in section.blocks:
            yield from _parts(block)
        yield from terminal_parts(section.parts)


def _parts(block: Block) -> Iterator[str | rich.table.Table]:
    match block:
        case Paragraph(text):
            yield text
        case Points(items):
            yield "\n".join(f"- {item}" for item in items)
        case Details(summary, text):
            yield f"{summary}\n{text}"
        case Grid(caption=caption):
            if caption:
                yield caption
            yield _table(block)
        case Table():
            yield terminal(block)


def _table(grid: Grid) -> rich.table.Table:
    """Return a plain table whose heads and long cells fold between words; columns without an entry are left out."""
    rows = [[_text(item) for item in row] for row in grid.rows]
    filled = [place for place in range(len(grid.head)) if any(row[place] for row in rows)]
    columns = [(grid.head[place], [row[place] for row in rows]) for place in filled]
    widths, gap = _layout(columns)
    shown = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=GAPS[gap])
    for (head, cells), width in zip(columns, widths, strict=True):
        numbers = all(cell[-1:].isdigit() for cell in cells if cell)
        shown.add_column(Text(head), justify="right" if numbers else "left", max_width=width)
    for place in range(len(rows)):
        shown.add_row(*(Text(cells[place]) for _, cells in columns))
    return shown


def _layout(columns: Sequence[tuple[str, Sequence[str]]]) -> tuple[list[int], int]:
    """Return the width of each column, given as its head and its cells, and the gap between two.

    Heads fold as little as ``WIDTH`` asks for; the gap is narrow where folded heads do not fit otherwise.
    """
    least = [min(WIDEST_CELL, max(map(len, [*head.split(), *cells]))) for head, cells in columns]
    for gap in GAPS:
        for most in range(WIDTH, 0, -1):
            widths = [max(low, min(len(head), most)) for low, (head, _) in zip(least, columns, strict=True)]
            if sum(widths) + gap * (len(widths) - 1) <= WIDTH:
                return widths, gap
    return least, min(GAPS)


def _text(item: Inline) -> str:
    return plain(item.text if isinstance(item, Link) else item)
