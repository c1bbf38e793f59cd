"""The simulation of conclusions, in short: tables and claims err seldom where the truth is that nothing differs."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics.multiple import holm
from analysis.statistics.new_text import variations
from analysis.statistics.power import ALPHA
from analysis.statistics.this_set import Sample, welch
from benchmarks import conclusions
from benchmarks.conclusions import Design, comparisons_of, of_claims, of_tables, study, welch_p, worse_rows

NULLS = 60


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3]))
@settings(deadline=None, max_examples=20)
def test_rows_called_worse_are_those_of_holm_over_all_pairs(seed, gap):
    rng = np.random.default_rng(seed)
    columns = [study(Design(4, 139), gap, rng, 5) for _ in range(2)]
    pairs = [(column, a, b) for column in range(2) for a, b in combinations(range(5), 2)]
    for test in comparisons_of(columns).values():
        p_values = [max(test.p_of(*pair), test.over_seeds[pair]) for pair in pairs]
        assert p_values == pytest.approx([test.p_of(*pair) for pair in pairs]), "new text is no easier than seeds alone"
        apart = {pair for pair, p in zip(pairs, holm(p_values), strict=True) if p <= ALPHA}
        for column, worse in enumerate(worse_rows(range(5), range(2), test)):
            top = int(test.means[column].argmax())
            assert worse == [(column, *sorted((row, top))) in apart for row in range(5)]


def test_the_p_of_all_rows_at_once_is_welchs():
    scores = np.random.default_rng(1).normal(size=(2, 3, 4))
    found = welch_p(scores)
    for column, a, b in product(range(2), range(3), range(3)):
        if a != b:
            assert found[column, a, b] == pytest.approx(welch(*(Sample.of(scores[column, n]) for n in (a, b))).p)
    assert welch_p(np.ones((1, 2, 3)))[0, 0, 1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("design", [Design(3, 139), Design(5, 139, "unequal"), Design(20, 139)])
def test_rows_without_a_difference_are_seldom_called_worse_on_new_text(design, monkeypatch):
    monkeypatch.setattr(
        conclusions, "TABLES", {name: conclusions.TABLES[name] for name in ("2 x 1", "3 x 3", "20 x 1")}
    )
    found = of_tables(design, NULLS, 1)
    for tables in found.values():
        for metric in conclusions.METRICS:
            assert tables[metric]["wrong"] <= 10, "a nominal 5 % of few studies"
    if design.seeds == 20:
        assert found["2 x 1"]["accuracy, on these items"]["wrong"] > 20, "seeds alone are wrong on new text"


@pytest.mark.slow
def test_claims_without_a_difference_are_seldom_decided():
    assert all(share <= 10 for share in of_claims(Design(20, 139), NULLS).values())


@pytest.mark.slow
def test_a_gap_is_found_more_often_than_it_is_missed():
    found = of_tables(Design(5, 1120), 1, 3)
    assert found["2 x 1"]["accuracy"]["found"] >= 50


@pytest.mark.slow
@pytest.mark.parametrize("stds", ["equal", "unequal"])
def test_rows_of_a_study_without_a_gap_have_one_expected_score_and_the_stds_asked_for(stds):
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(20):
        rows = study(Design(20, 1120, stds), 0.0, rng, 2)
        scores.append([one.scores for one in variations(rows, "accuracy")])
    means, spreads = np.mean(scores, axis=(0, 2)), np.std(scores, axis=2, ddof=1).mean(axis=0)
    assert means[0] == pytest.approx(means[1], abs=0.006)
    assert (spreads[0] / spreads[1] > 2) == (stds == "unequal")
