"""The correction that tables do not take, by hand: steps over the pairs of rows that may still be among the best."""

import pytest

from benchmarks.corrections import step_down


def test_rows_against_the_best_by_hand():
    # three rows beside the best: 6 pairs, then 3 among the three rows left, then 1
    assert step_down([[0.001, 0.02, 0.01]]) == [pytest.approx([0.006, 0.03, 0.03])]
    # two columns of two rows: 2 pairs, then the one that is left
    assert step_down([[0.01], [0.04]]) == [pytest.approx([0.02]), pytest.approx([0.04])]
    assert step_down([[0.03]]) == [[0.03]], "two rows are one test"
    assert step_down([[], [0.5]]) == [[], [0.5]]
