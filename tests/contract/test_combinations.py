"""The combinations in which contracts hold pairwise: they leave out no pair, and are far fewer than all."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.combinations import pairs_of, pairwise

sizes = st.lists(st.integers(1, 5), min_size=2, max_size=4)


def all_pairs(rows):
    return set().union(*map(pairs_of, rows))


@pytest.mark.slow
@given(sizes, st.randoms(use_true_random=False))
def test_every_pair_that_any_row_has_is_there_and_every_row_adds_one(sizes, random):
    rows = list(product(*([f"{factor}{value}" for value in range(size)] for factor, size in enumerate(sizes))))
    allowed = [row for row in rows if random.random() < 0.7] or rows[:1]
    found = pairwise(allowed)
    assert set(found) <= set(allowed)
    assert all_pairs(found) == all_pairs(allowed)
    for number, row in enumerate(found):
        assert pairs_of(row) - (all_pairs(found[:number]) if number else set())
    assert pairwise(allowed) == found


def test_where_all_is_allowed_there_are_about_as_many_as_the_two_largest_factors_need():
    rows = list(product(*([f"{factor}{value}" for value in range(size)] for factor, size in enumerate((7, 17, 4)))))
    assert 7 * 17 <= len(pairwise(rows)) < 1.15 * 7 * 17 < len(rows) / 3
