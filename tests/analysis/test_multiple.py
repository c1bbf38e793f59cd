"""Holm's correction: worked values, statsmodels, its order, and how often it tells equal rows of a table apart."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.statistics.multiple import holm

ALPHA = 0.05
p_value = st.integers(0, 1000).map(lambda k: k / 1000) | st.floats(1e-12, 1e-3)
family = st.lists(p_value, max_size=8)


def test_holm_by_hand():
    # ascending .01 * 3, .03 * 2, .04 * 1; the last may not be below the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    for wrong in ([0.5, math.nan], [1.2], [-0.1]):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            holm(wrong)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)  # statsmodels collects garbage at every call
@given(family.filter(bool))
def test_holm_is_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


@given(family)
def test_holm_is_never_below_the_p_nor_out_of_its_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= value <= 1 for p, value in zip(p_values, adjusted, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i, p in enumerate(p_values) for j, q in enumerate(p_values) if p < q)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [2, 5, 10])
@pytest.mark.parametrize("gap", [0.0, 0.5, 2.0, 4.0, 8.0])
def test_equal_rows_are_seldom_told_apart_the_best_found_in_the_scores_or_not(tied, gap):
    """Ten rows of normal means, ``tied`` of them the best, the others below by ``gap`` standard deviations."""
    rng = np.random.default_rng([tied, int(2 * gap)])
    true = np.where(np.arange(10) < tied, 0.0, -gap)
    first, second = np.triu_indices(10, 1)
    equal = true[first] == true[second]
    wrong = 0
    for means in true + rng.standard_normal((4000, 10)):
        p_values = 2 * stats.norm.sf(np.abs(means[first] - means[second]) / math.sqrt(2))
        wrong += bool((np.array(holm(p_values.tolist()))[equal] <= ALPHA).any())
    assert wrong / 4000 <= 0.06
