"""Few combinations of several factors' values that show every pair of values together: a pairwise covering array.

An error that needs two factors to meet is found by such combinations as by all of them (Kuhn, Wallace and Gallo, 2004).
"""

from collections.abc import Collection, Iterable
from itertools import combinations
from typing import Any

import pytest

Row = tuple[str, ...]


def pairs_of(row: Row) -> set[tuple[int, str, int, str]]:
    """The pairs of values in ``row``, each with the places of its two factors."""
    return {(i, row[i], j, row[j]) for i, j in combinations(range(len(row)), 2)}


def pairwise(rows: Iterable[Row]) -> list[Row]:
    """Some of ``rows``, which show every pair of values that any of ``rows`` shows; the same ones each time.

    The row with the most pairs that are not shown yet is taken next, the first of equals.
    """
    left = {row: pairs_of(row) for row in rows}
    missing = set[tuple[int, str, int, str]]().union(*left.values())
    found = []
    while missing:
        row = max(left, key=lambda one: len(left[one] & missing))
        missing -= left.pop(row)
        found.append(row)
    return found


def usually(usual: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """Parameters of a test: of ``values``, those that are not in ``usual`` run in ``make contracts`` alone.

    Each of ``values`` is the argument of a test, or the tuple of its arguments.
    """
    return [
        pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=() if one in usual else pytest.mark.contracts)
        for one in values
    ]
