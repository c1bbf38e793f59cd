"""Few combinations of several factors' values that show every value, or every pair of values together: covering arrays.

An error that needs two factors to meet is found by all pairs as by all combinations (Kuhn, Wallace and Gallo, 2004).
"""

from collections.abc import Collection, Iterable
from itertools import combinations
from typing import Any

import pytest

Row = tuple[str, ...]


def parts_of(row: Row, strength: int) -> set[tuple[tuple[int, str], ...]]:
    """The parts of ``row`` that have ``strength`` values, each value with the place of its factor."""
    return set(combinations(enumerate(row), strength))


def covering(rows: Iterable[Row], strength: int = 2) -> list[Row]:
    """Some of ``rows``, which show every part of ``strength`` values that any of ``rows`` shows.

    The row with the most parts that are not shown yet is taken next, the first of equals.
    """
    left = {row: parts_of(row, strength) for row in rows}
    missing = set[tuple[tuple[int, str], ...]]().union(*left.values())
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
