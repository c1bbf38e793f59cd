"""The report's first part says what the marks of its tables say, and draws what its sentences say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import Score
from analysis.report.answer import answer_section
from analysis.report.document import Paragraph, Points, Section
from analysis.report.pages import html_page
from analysis.report.report_figures import differences_figure
from analysis.statistics.this_set import Sample
from analysis.tables.build import build
from analysis.tables.table import Standing, Table, TableRow, TableSpec


def table(rows: list[list[list[float]]]) -> Table:
    """A table of rows whose scores over seeds on each dataset are given."""
    columns = {f"d{n}": f"Dataset {n}" for n in range(len(rows[0]))}
    scored = tuple(
        TableRow(
            f"Row-{chr(65 + number)}",
            {name: Score(Sample.of(values), len(values)) for name, values in zip(columns, row, strict=True)},
        )
        for number, row in enumerate(rows)
    )
    return build(TableSpec("all", "All.", "macro_f1", scored, columns))


def drawn(rows: int, columns: int, seeds: int, gap: float, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    return table(
        [[rng.normal(0.5 + gap * row, 0.02, seeds).clip(0, 1).tolist() for _ in range(columns)] for row in range(rows)]
    )


def sentences(section: Section) -> tuple[str, ...]:
    block = section.blocks[0]
    assert isinstance(block, Points)
    return block.items


@given(st.integers(2, 5), st.integers(1, 3), st.integers(1, 5), st.sampled_from([0.0, 0.01, 0.05]), st.integers(0, 500))
@settings(max_examples=40, deadline=None)
def test_the_sentences_say_what_the_marks_say(rows: int, columns: int, seeds: int, gap: float, seed: int) -> None:
    shown = drawn(rows, columns, seeds, gap, seed)
    for column, told in zip(shown.spec.columns, sentences(answer_section([shown])), strict=True):
        best = shown.spec.rows[shown.best[column]].label
        of = {shown.spec.rows[n].label: one for (n, name), one in shown.entries.items() if name == column}
        assert told.startswith(f"{shown.spec.columns[column]}: {best} ")
        tested = [one for label, one in of.items() if label != best and one.standing is not Standing.NOT_TESTED]
        alike = [label for label, one in of.items() if one.standing is Standing.ALIKE]
        assert ("is best" in told) == (bool(tested) and not alike and all(o.standing is Standing.WORSE for o in tested))
        assert ("Nothing is tested" in told) == (not tested)
        if alike:
            listed = told.partition("points above")[2]
            assert "can't be told from it" in listed
            assert all(label in listed for label in alike)
        for label, one in of.items():
            if one.standing is Standing.WORSE:
                assert label in told


def test_the_sentence_turns_the_comparison_round() -> None:
    shown = table([[[0.50, 0.51, 0.52]], [[0.60, 0.61, 0.62]]])
    (told,) = sentences(answer_section([shown]))
    one = shown.entries[0, "d0"].versus
    assert one is not None
    assert one.low is not None
    assert one.high is not None
    assert "Row-B is best, 61.00 ± 1.00" in told
    assert "10.00 points above Row-A" in told
    assert f"{-100 * one.high:.2f} to {-100 * one.low:.2f} on these test items" in told


def test_every_worse_row_is_called_so_where_another_is_alike() -> None:
    shown = table([[[0.50, 0.501, 0.502]], [[0.60, 0.601, 0.602]], [[0.57, 0.59, 0.63]]])
    (told,) = sentences(answer_section([shown]))
    assert "Row-C can't be told from it. Row-A is worse: Row-B lies " in told
    shown = table([[[0.5900, 0.5901, 0.5902]], [[0.60, 0.6001, 0.6002]], [[0.50, 0.57, 0.64]]])
    (told,) = sentences(answer_section([shown]))
    assert "points above Row-A" in told
    assert "Row-C can't be told from it. Row-A is worse: Row-B lies " in told


def test_several_tables_answer_under_their_captions() -> None:
    one, other = drawn(3, 1, 5, 0.05, 1), drawn(2, 1, 5, 0.05, 2)
    other = replace(other, spec=replace(other.spec, caption="Others."))
    blocks = answer_section([one, other]).blocks
    assert [block.text for block in blocks[::2] if isinstance(block, Paragraph)] == ["All.", "Others."]
    assert all(isinstance(block, Points) for block in blocks[1::2])


def test_what_is_not_tested_is_said_with_its_reason() -> None:
    (told,) = sentences(answer_section([table([[[0.5, 0.51]], [[0.6, 0.61]]])]))
    assert "has the highest mean" in told
    assert "Nothing is tested: 2 seeds, and a test takes at least 3" in told


def test_no_figure_is_drawn_where_nothing_is_tested() -> None:
    assert differences_figure(table([[[0.5, 0.51]], [[0.6, 0.61]]])) is None


def test_the_figure_has_a_point_a_row_and_an_interval_a_test() -> None:
    shown = drawn(4, 2, 5, 0.01, 3)
    captioned = differences_figure(shown)
    assert captioned is not None
    (ax,) = captioned.figure.axes
    tested = [one for one in shown.entries.values() if one.versus and one.versus.tested]
    assert len(ax.get_yticks()) == len(tested) == 6
    assert "on these test items" in captioned.caption
    assert "95 % interval" in captioned.caption


def test_the_figure_tells_rows_that_were_not_tested_from_those_that_are_not_separable() -> None:
    best, near, far, two = [0.80, 0.82, 0.81], [0.79, 0.82, 0.80], [0.40, 0.41, 0.42], [0.6, 0.61]
    captioned = differences_figure(table([[best], [near], [far], [two]]))
    assert captioned is not None
    (legend,) = captioned.figure.legends
    drawn_as = {
        text.get_text(): (handle.get_paths()[0].vertices.tolist(), handle.get_facecolor().tolist())
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert list(drawn_as) == ["worse than the best", "not separable from the best", "not tested"]
    assert len(set(map(str, drawn_as.values()))) == 3, "three marks that look different"
    assert "a hollow one is not separable from it, and a cross was not tested" in captioned.caption
    (legend,) = differences_figure(table([[best], [far]])).figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["worse than the best"], "only what is drawn"


@pytest.mark.parametrize("folded", [True, False])
def test_a_folded_section_is_closed_in_the_page(folded: bool) -> None:
    page = html_page("t", [Section("Title", (Points(("a line",)),), "anchor", folded=folded)])
    assert ("<details><summary><h2>Title</h2></summary>" in page) == folded
    assert "a line" in page
