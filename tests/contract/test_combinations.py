"""The combinations in which contracts hold: they leave out no value or no pair, and are far fewer than all."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.combinations import covering, parts_of

sizes = st.lists(st.integers(1, 5), min_size=2, max_size=4)


def all_parts(rows, strength):
    return set().union(*(parts_of(row, strength) for row in rows))


@pytest.mark.slow
@given(sizes, st.integers(1, 2), st.randoms(use_true_random=False))
def test_every_part_that_any_row_has_is_there_and_every_row_adds_one(sizes, strength, random):
    rows = list(product(*([f"{factor}{value}" for value in range(size)] for factor, size in enumerate(sizes))))
    allowed = [row for row in rows if random.random() < 0.7] or rows[:1]
    found = covering(allowed, strength)
    assert set(found) <= set(allowed)
    assert all_parts(found, strength) == all_parts(allowed, strength)
    for number, row in enumerate(found):
        assert parts_of(row, strength) - all_parts(found[:number], strength)
    assert covering(allowed, strength) == found


def test_where_all_is_allowed_there_are_about_as_many_as_the_largest_factors_need():
    rows = list(product(*([f"{factor}{value}" for value in range(size)] for factor, size in enumerate((7, 17, 4)))))
    assert len(covering(rows, 1)) == 17
    assert 7 * 17 <= len(covering(rows)) < 1.15 * 7 * 17 < len(rows) / 3
