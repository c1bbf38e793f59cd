"""GRIM (Brown & Heathers 2017, Social Psychological and Personality Science 8): can a printed mean be one of its n?

For accuracy only: a run's accuracy is a whole number of right answers over the test items, a macro-F1 is not.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cache
from math import floor


class Fit(StrEnum):
    """Whether a printed mean accuracy can be one of the given runs and items."""

    FITS = "fits"
    ROUNDED_RUNS = "fits only if runs were rounded"
    MISFIT = "does not fit"


@dataclass(frozen=True)
class Grim:
    """The result of GRIM for one printed mean."""

    verdict: Fit
    chance: float
    """The share, in [0, 1], of all values from 0 to 100 of this precision that get the verdict ``fits``."""
    chance_rounded: float
    """The share that gets ``fits`` or ``fits only if runs were rounded``: at 1 the latter says nothing."""


def grim(mean_percent: Decimal, items: int, runs: int, decimals: int = 2) -> Grim:
    """Return whether ``mean_percent`` can be the mean accuracy of ``runs`` runs on ``items`` test items each.

    It fits where a total of right answers over all runs rounds to it, and ``fits only if runs were rounded`` where only
    a mean of run accuracies that were themselves rounded to ``decimals`` does. The arithmetic is in exact whole
    numbers; a tie may have been rounded up or to even. The std printed beside the mean is not looked at. Raises
    ValueError for a mean outside [0, 100] or with more digits than ``decimals``, for items or runs below 1, and for
    decimals outside 0 to 4.
    """
    if items < 1 or runs < 1 or not 0 <= decimals <= 4:
        raise ValueError(f"GRIM needs items and runs of 1 or more and 0 to 4 decimals, not {items}, {runs}, {decimals}")
    units = mean_percent.scaleb(decimals)
    if not 0 <= mean_percent <= 100 or units != int(units):
        raise ValueError(f"{mean_percent} is not a percentage with {decimals} decimals")
    direct, rounded = _direct(items * runs, decimals), _rounded(items, runs, decimals)
    verdict = Fit.FITS if int(units) in direct else Fit.ROUNDED_RUNS if int(units) in rounded else Fit.MISFIT
    values = 100 * 10**decimals + 1
    return Grim(verdict, len(direct) / values, len(direct | rounded) / values)


def _printed(exact: Fraction) -> set[int]:
    """Return what may be printed for ``exact``: ties rounded up, and ties to even."""
    return {floor(exact + Fraction(1, 2)), round(exact)}


@cache
def _direct(answers: int, decimals: int) -> frozenset[int]:
    """Return the printed values, in units of the last digit, of 0 to ``answers`` right ones out of ``answers``."""
    top = 100 * 10**decimals
    if answers >= top:  # totals lie at most one unit apart: one rounds to each printed value
        return frozenset(range(top + 1))
    return frozenset().union(*(_printed(Fraction(top * right, answers)) for right in range(answers + 1)))


@cache
def _rounded(items: int, runs: int, decimals: int) -> frozenset[int]:
    """Return the printed values, in units of the last digit, of means of ``runs`` accuracies rounded before."""
    one_run = _direct(items, decimals)
    sums = 1  # bit s is set where some choice of runs so far adds up to s
    for _ in range(runs):
        grown = 0
        for value in one_run:
            grown |= sums << value
        sums = grown
    reached = (total for total, bit in enumerate(reversed(f"{sums:b}")) if bit == "1")
    return frozenset().union(*(_printed(Fraction(total, runs)) for total in reached))
