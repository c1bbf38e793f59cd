"""The report's first part says what the marks of its tables say, and draws what its sentences say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import Score
from analysis.figures.forest import MARKS
from analysis.pairs import every_pair
from analysis.report.answer import MOST_DIFFERENCES, _p, answer_section
from analysis.report.document import Paragraph, Points, Section
from analysis.report.pages import html_page
from analysis.report.report_figures import differences_figure
from analysis.statistics.this_set import Sample
from analysis.tables.build import build
from analysis.tables.table import Entry, Standing, Table, TableRow, TableSpec


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
        assert ("No difference was tested" in told) == (not tested)
        for label, one in of.items():
            if one.standing in (Standing.ALIKE, Standing.WORSE):
                said = next(
                    part for part in told.split("; this difference is ") if f"It is {points(one)} above {label}" in part
                )
                verdict = told[told.index(said) + len(said) :].removeprefix("; this difference is ")
                assert verdict.startswith("significant" if one.standing is Standing.WORSE else "not significant")


def points(one: Entry) -> str:
    assert one.versus is not None
    assert one.versus.difference is not None
    return f"{abs(100 * one.versus.difference):.2f} points"


def test_the_sentence_turns_the_comparison_round() -> None:
    shown = table([[[0.50, 0.51, 0.52]], [[0.60, 0.61, 0.62]]])
    (told,) = sentences(answer_section([shown]))
    one = shown.entries[0, "d0"].versus
    assert one is not None
    assert one.low is not None
    assert one.high is not None
    assert "Row-B is best by mean macro-F1, 61.00 ± 1.00 %" in told
    assert "10.00 points above Row-A" in told
    assert f"[{-100 * one.high:.2f}, {-100 * one.low:.2f}] on these test items" in told
    assert f"by {one.test}); this difference is" in told


def test_the_sentences_speak_of_comparisons_with_the_best_alone() -> None:
    """One question has one family of corrections: two rows that are not the best have no verdict."""
    shown = table([[[0.50, 0.501, 0.502]], [[0.60, 0.601, 0.602]], [[0.57, 0.59, 0.63]]])
    (told,) = sentences(answer_section([shown]))
    assert told.count("corrected p") == 2
    assert "Row-C is" not in told
    corrected = [one.comparison.p_corrected for one in every_pair(shown)]
    assert [p is None for p in corrected] == [False, False, True]
    assert all(f"corrected p {_p(p)}" in told for p in corrected[:2] if p is not None)


def test_of_many_rows_only_the_highest_have_a_sentence_of_their_own() -> None:
    shown = drawn(9, 1, 5, 0.05, 1)
    (told,) = sentences(answer_section([shown]))
    assert told.count("95 % interval") == MOST_DIFFERENCES
    assert all(row.label in told for row in shown.spec.rows)


def test_several_tables_answer_under_their_captions() -> None:
    one, other = drawn(3, 1, 5, 0.05, 1), drawn(2, 1, 5, 0.05, 2)
    other = replace(other, spec=replace(other.spec, caption="Others."))
    blocks = answer_section([one, other]).blocks
    assert [block.text for block in blocks[::2] if isinstance(block, Paragraph)] == ["All.", "Others."]
    assert all(isinstance(block, Points) for block in blocks[1::2])


def test_what_is_not_tested_is_said_with_its_reason() -> None:
    (told,) = sentences(answer_section([table([[[0.5, 0.51]], [[0.6, 0.61]]])]))
    assert "has the highest mean" in told
    assert "No difference was tested: 2 seeds, and a test takes at least 3" in told


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


def test_the_figure_tells_rows_that_were_not_tested_from_those_that_do_not_differ() -> None:
    best, near, far, two = [0.80, 0.82, 0.81], [0.79, 0.82, 0.80], [0.40, 0.41, 0.42], [0.6, 0.61]
    captioned = differences_figure(table([[best], [near], [far], [two]]))
    assert captioned is not None
    (legend,) = captioned.figure.legends
    drawn_as = {
        text.get_text(): (handle.get_paths()[0].vertices.tolist(), handle.get_facecolor().tolist())
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    assert list(drawn_as) == [Standing.WORSE, Standing.ALIKE, Standing.NOT_TESTED]
    assert len(set(map(str, drawn_as.values()))) == 3, "three marks that look different"
    assert "a diamond is not significantly different from it and a square was not tested" in captioned.caption
    round_ones = [mark for mark in MARKS.values() if mark["marker"] in ("o", "x")]
    assert not round_ones, "points and crosses of other figures are values and failed trials"
    (legend,) = differences_figure(table([[best], [far]])).figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [Standing.WORSE], "only what is drawn"


@pytest.mark.parametrize("folded", [True, False])
def test_a_folded_section_is_closed_in_the_page(folded: bool) -> None:
    page = html_page("t", [Section("Title", (Points(("a line",)),), "anchor", folded=folded)])
    assert ("<details><summary><h2>Title</h2></summary>" in page) == folded
    assert "a line" in page


def test_tables_of_one_caption_keep_all_their_sentences() -> None:
    one, other = drawn(2, 1, 3, 0.05, 1), drawn(2, 2, 3, 0.05, 2)
    assert sentences(answer_section([one, other])) == (
        *sentences(answer_section([one])),
        *sentences(answer_section([other])),
    )
