"""Learning rates of a grid: validation chooses, the range is measured by its standard error, and pairs are tested."""

from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import compare, score_of
from analysis.figures.rate_figures import rate_figures
from analysis.rates import MIN_RATES, pairs_of, rate_maps
from analysis.report.rates_section import rates_section
from analysis.tables.build import build
from analysis.tables.specs import default_specs
from tests.support.cells import cell_of
from tunekit.methods import METHODS

DEFAULTS = {name: METHODS[name].learning_rate for name in ("full", "adapter", "lora")}
DEFAULT = DEFAULTS["lora"]
RATES = (DEFAULT / 10, DEFAULT, DEFAULT * 10, DEFAULT * 100)


def grid(validation, test=(0.5, 0.52, 0.54), method="lora", rates=RATES):
    """A cell for each rate, whose validation scores lie 0.01 around the given mean."""
    return [
        cell_of(test, [mean - 0.01, mean, mean + 0.01], method=method, learning_rate=rate)
        for rate, mean in zip(rates, validation, strict=True)
    ]


def test_the_best_on_validation_is_chosen_and_the_default_is_the_methods_own():
    [found] = rate_maps(grid([0.3, 0.4, 0.7, 0.6]), DEFAULTS)
    assert found.rates == list(RATES)
    assert found.chosen.settings["learning_rate"] == DEFAULT * 10
    assert found.default is not None
    assert found.default.settings["learning_rate"] == DEFAULT
    assert not found.at_the_edge


def test_the_range_ends_where_the_mean_falls_by_more_than_one_standard_error():
    error = 0.01 / sqrt(3)
    [found] = rate_maps(grid([0.7 - 0.9 * error, 0.7 - 0.9 * error, 0.7, 0.7 - 1.1 * error]), DEFAULTS)
    assert found.within == (RATES[0], RATES[2])


def test_a_rate_beyond_a_gap_does_not_widen_the_range():
    [found] = rate_maps(grid([0.699, 0.2, 0.7, 0.2]), DEFAULTS)
    assert found.within == (RATES[2], RATES[2])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(10, 90), min_size=4, max_size=4, unique=True), st.permutations(range(4)))
def test_the_order_of_cells_moves_nothing_and_the_range_holds_the_best(percents, order):
    cells = grid([percent / 100 for percent in percents])
    [one], [other] = rate_maps(cells, DEFAULTS), rate_maps([cells[place] for place in order], DEFAULTS)
    assert (one.rates, one.chosen, one.within) == (other.rates, other.chosen, other.within)
    assert one.best.mean == max(sample.mean for sample in one.scores)
    assert one.within is not None
    low, high = one.within
    assert low <= one.chosen.settings["learning_rate"] <= high


@pytest.mark.parametrize(
    "cells",
    [
        grid([0.3, 0.4], rates=RATES[: MIN_RATES - 1]),
        [
            *grid([0.3, 0.4, 0.5], rates=RATES[:3]),
            cell_of([0.5], [0.9], method="lora", learning_rate=1.0, batch_size=8),
        ],
        [cell_of([0.5, 0.6, 0.7], method="lora", learning_rate=rate) for rate in RATES],
    ],
    ids=["two rates", "another setting differs", "no validation"],
)
def test_there_is_no_map_without_a_range_to_speak_of(cells):
    assert rate_maps(cells, DEFAULTS) == []
    assert not rates_section(rate_maps(cells, DEFAULTS), cells).blocks


def test_a_pair_has_the_verdict_of_the_score_table_and_none_without_the_best_row():
    better = grid([0.3, 0.4, 0.7, 0.6], test=(0.8, 0.81, 0.83), method="full", rates=RATES)
    worse = grid([0.3, 0.4, 0.7, 0.6], test=(0.7, 0.72, 0.71), method="lora")
    middle = grid([0.3, 0.4, 0.7, 0.6], test=(0.75, 0.72, 0.76), method="adapter")
    found = [*worse, *better, *middle]
    pairs = pairs_of(rate_maps(found, DEFAULTS), found)
    assert {pair.first.chosen.method for pair in pairs if pair.second.chosen.method == "lora"} == {"full", "adapter"}
    expected = [
        compare(score_of(pair.first.chosen, "macro_f1"), score_of(pair.second.chosen, "macro_f1")) for pair in pairs
    ]
    assert [pair.at_own.estimate for pair in pairs] == [one.estimate for one in expected]
    assert all(pair.at_own.difference > 0 for pair in pairs)
    (table,) = [build(spec) for spec in default_specs(found, ["macro_f1"])]
    marked = {
        entry.score.cell.method: (entry.versus.p, entry.versus.p_corrected, entry.versus.correction)
        for entry in table.entries.values()
        if entry.versus
    }
    assert set(marked) == {"lora", "adapter"}
    for pair in pairs:
        own = pair.at_own
        if pair.first.chosen.method == "full":
            assert (own.p, own.p_corrected, own.correction) == marked[pair.second.chosen.method]
        else:
            assert own.p is not None
            assert own.p_corrected is None
    # The grid's rates hold the default of lora and of adapter, not that of full fine-tuning.
    for pair in pairs:
        methods = {pair.first.chosen.method, pair.second.chosen.method}
        held = all(METHODS[method].learning_rate in RATES for method in methods)
        assert (pair.at_default is not None) == held


def test_the_section_names_an_edge_a_missing_default_and_why_nothing_was_tested():
    cells = [
        cell_of([0.5, 0.6], [mean, mean + 0.01], method="lora", learning_rate=3.1 * rate)
        for rate, mean in zip(RATES, (0.3, 0.4, 0.5, 0.6), strict=True)
    ]
    others = [
        cell_of([0.4, 0.6], [mean, mean + 0.01], method="adapter", learning_rate=rate)
        for rate, mean in zip(RATES, (0.3, 0.6, 0.5, 0.4), strict=True)
    ]
    section = rates_section(rate_maps([*cells, *others], DEFAULTS), [*cells, *others])
    texts = [str(text) for block in section.blocks if hasattr(block, "rows") for row in block.rows for text in row]
    assert any("edge of the grid" in text for text in texts)
    assert "not in the grid, or not known" in texts
    assert "the default is the best" in texts
    assert any("not tested: " in text for text in texts)


def test_a_figure_marks_default_and_best_and_names_the_range():
    cells = [*grid([0.3, 0.4, 0.7, 0.6]), *grid([0.5, 0.6, 0.4, 0.3], method="adapter")]
    [found] = rate_figures(rate_maps(cells, DEFAULTS))
    [ax] = found.figure.axes
    labels = ax.get_legend_handles_labels()[1]
    assert len(labels) == 2
    assert all("within one standard error" in label for label in labels)
    markers = [line.get_marker() for line in ax.lines]
    assert markers.count("*") == 2
    assert markers.count("o") >= 1


def test_every_method_stands_at_its_rates():
    maps = rate_maps([*grid([0.3, 0.4, 0.7, 0.6]), *grid([0.5, 0.4, 0.6, 0.3], (0.6, 0.62, 0.61), "full")], DEFAULTS)
    (captioned,) = rate_figures(maps)
    for line in captioned.figure.axes[0].lines:
        assert set(line.get_xdata()) <= set(RATES)
