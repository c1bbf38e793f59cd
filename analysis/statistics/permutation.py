"""Permutation tests over seeds: of two rows by splits of their seeds, and of common seeds by signs of the differences.

With few seeds there are few arrangements, so that such a p can't be below a bound that the number of seeds sets: 0.1 at
3 against 3 seeds, 0.0286 at 4 against 4. ``least_split_p`` and ``least_sign_flip_p`` give the bounds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.statistics.this_set import MIN_SEEDS, FloatArray, Interval, negligible

MAX_ARRANGEMENTS = 20_000
"""The most arrangements that a test enumerates (8 against 8 seeds has 12,870); of more, this many are drawn."""
_TIE_DECIMALS = 10  # of statistics on values scaled to [-1, 1]: splits of equal sums are ties


@dataclass(frozen=True)
class Paired:
    """The tests of row a minus row b over their common seeds."""

    difference: float
    interval: Interval
    """The interval of the paired t test."""
    p: float
    """The p of the paired t test."""
    sign_flip_p: float
    correlation: float | None
    """Pearson's correlation of the two rows; None where one of them does not vary."""
    n: int
    """The number of common seeds."""


def permutation_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the two-sided p of the unpaired permutation test on the difference of means.

    It is twice the smaller tail, at most 1. The test is exact (all splits) up to ``MAX_ARRANGEMENTS`` splits; beyond,
    it takes that many seeded draws. Its null is that both rows have the same distribution, spread included: at stds of
    4:1 and n = 5 it rejects 8 % of equal means, Welch's t 5 %. It needs no spread: it returns 1 where all values are
    the same. Returns None where either n < 3.
    """
    if min(len(a), len(b)) < MIN_SEEDS:
        return None
    first, second = sorted((sorted(a), sorted(b)))  # the order of values and rows decides nothing, drawn splits too
    pooled = _scores([*first, *second])
    centred = pooled - pooled.mean()
    scale = float(np.abs(centred).max())
    if negligible(scale, *pooled):
        return 1.0
    return _permuted_p(np.split(centred / scale, [len(first)]), "independent")


def least_split_p(n_a: int, n_b: int) -> float:
    """Return the smallest p that ``permutation_p`` can have with so many seeds."""
    return _least_p(math.comb(n_a + n_b, n_a))


def paired(a: Mapping[int, float], b: Mapping[int, float], level: float = 0.95) -> Paired | None:
    """Return the paired t and sign-flip tests over the seeds that both rows have; scores are keyed by seed.

    It is only for rows whose runs of one seed share their initialisation: elsewhere a common seed number pairs nothing.
    The sign-flip test enumerates 2^n sign patterns as ``permutation_p`` does its splits. Returns None below 3 common
    seeds, and where the differences do not vary.
    """
    from scipy import stats

    seeds = sorted(a.keys() & b.keys())
    if len(seeds) < MIN_SEEDS:
        return None
    first, second = (_scores(row[seed] for seed in seeds) for row in (a, b))
    differences = first - second
    if negligible(float(differences.std()), *first, *second):
        return None
    test = stats.ttest_rel(first, second)
    bounds = test.confidence_interval(level)
    fixed = any(negligible(float(row.std()), *row) for row in (first, second))
    return Paired(
        difference=float(differences.mean()),
        interval=Interval(float(bounds.low), float(bounds.high), level),
        p=float(test.pvalue),
        sign_flip_p=_permuted_p([differences / np.abs(differences).max()], "samples"),
        correlation=None if fixed else float(stats.pearsonr(first, second).statistic),
        n=len(seeds),
    )


def least_sign_flip_p(n: int) -> float:
    """Return the smallest sign-flip p that ``paired`` can have with ``n`` common seeds."""
    return _least_p(2**n)


def _least_p(arrangements: int) -> float:
    """Return the p of the most extreme of so many arrangements in either direction."""
    exact = arrangements <= MAX_ARRANGEMENTS
    return min(1.0, 2 / (arrangements if exact else MAX_ARRANGEMENTS + 1))


def _scores(values: Iterable[float]) -> FloatArray:
    scores = np.array(list(values), dtype=float)
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, not {scores.tolist()}")
    return scores


def _permuted_p(samples: Sequence[FloatArray], permuted: str) -> float:
    """Return the two-sided p of the mean of one sample, or the difference of two, over scipy's ``permutation_type``."""
    from scipy import stats

    def statistic(first: FloatArray, *rest: FloatArray, axis: int) -> Any:
        return np.round(first.mean(axis=axis) - sum(other.mean(axis=axis) for other in rest), _TIE_DECIMALS)

    test = stats.permutation_test(
        samples,
        statistic,
        permutation_type=permuted,
        vectorized=True,
        n_resamples=MAX_ARRANGEMENTS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)
