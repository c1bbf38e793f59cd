"""Holm's correction and the steps over rows: worked values, statsmodels, what order and added rows may change."""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.statistics.multiple import against_best, holm, pairs

ALPHA = 0.05
p_value = st.integers(0, 1000).map(lambda k: k / 1000) | st.floats(1e-12, 1e-3)
family = st.lists(p_value, max_size=8)
table = st.lists(st.lists(p_value, max_size=5), min_size=1, max_size=3)


def test_holm_by_hand():
    # ascending .01 * 3, .03 * 2, .04 * 1; the last may not be below the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    for wrong in ([0.5, math.nan], [1.2], [-0.1]):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            holm(wrong)
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            against_best([wrong])


@settings(max_examples=30, deadline=None)
@given(family.filter(bool))
def test_holm_is_statsmodels(p_values):
    with mock.patch("gc.collect"):  # statsmodels calls it every time, a third of a second
        expected = multipletests(p_values, method="holm")[1].tolist()
    assert holm(p_values) == pytest.approx(expected)


@given(family)
def test_holm_is_never_below_the_p_nor_out_of_its_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= value <= 1 for p, value in zip(p_values, adjusted, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i, p in enumerate(p_values) for j, q in enumerate(p_values) if p < q)


def test_rows_against_the_best_by_hand():
    # three rows beside the best: 6 pairs, then 3 among the three rows left, then 1
    assert against_best([[0.001, 0.02, 0.01]]) == [pytest.approx([0.006, 0.03, 0.03])]
    # two columns of two rows: 2 pairs, then the one that is left
    first, second = against_best([[0.01], [0.04]])
    assert (first, second) == (pytest.approx([0.02]), pytest.approx([0.04]))
    assert against_best([[0.03]]) == [[0.03]], "two rows are one test"
    assert against_best([[], [0.5]]) == [[], [0.5]]
    assert pairs([4, 2, 1, 0]) == 7


@pytest.mark.slow
@given(table, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_decides_nothing(columns, random):
    before = against_best(columns)
    order = list(range(len(columns)))
    random.shuffle(order)
    places = [random.sample(range(len(columns[c])), len(columns[c])) for c in order]
    after = against_best([[columns[c][r] for r in rows] for c, rows in zip(order, places, strict=True)])
    for c, rows, values in zip(order, places, after, strict=True):
        assert values == pytest.approx([before[c][r] for r in rows])


@given(table.filter(lambda columns: any(columns)), st.integers(0, 2), p_value)
def test_an_added_row_turns_no_row_into_a_worse_one(columns, where, added):
    """A row may lose its verdict to a larger family; a row that is clearly worse, below all others, changes none."""
    before = against_best(columns)
    at = where % len(columns)
    after = against_best([[*column, added] if c == at else column for c, column in enumerate(columns)])
    own = after[at].pop()
    pairs_of = [(p, q) for old, new in zip(before, after, strict=True) for p, q in zip(old, new, strict=True)]
    assert all(q >= p - 1e-12 for p, q in pairs_of)
    if added < min(p for column in columns for p in column) and own <= ALPHA:
        assert [q <= ALPHA for _, q in pairs_of] == [p <= ALPHA for p, _ in pairs_of]


@pytest.mark.slow
@pytest.mark.parametrize("tied", [2, 5, 10])
@pytest.mark.parametrize("gap", [0.0, 0.5, 2.0, 4.0, 8.0])
def test_rows_that_are_among_the_best_are_seldom_called_worse(tied, gap):
    """Ten rows of normal means, ``tied`` of them the best, the others below by ``gap`` standard deviations."""
    rng = np.random.default_rng([tied, int(2 * gap)])
    true = np.where(np.arange(10) < tied, 0.0, -gap)
    wrong = 0
    for means in true + rng.standard_normal((4000, 10)):
        best = int(means.argmax())
        p_values = 2 * stats.norm.sf((means[best] - np.delete(means, best)) / math.sqrt(2))
        (adjusted,) = against_best([p_values.tolist()])
        rows = [row for row in range(10) if row != best]
        wrong += any(p <= ALPHA and true[row] == 0 for p, row in zip(adjusted, rows, strict=True))
    assert wrong / 4000 <= 0.06
