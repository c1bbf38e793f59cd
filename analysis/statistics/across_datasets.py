"""Rows compared over several datasets: mean ranks, win rates, interquartile means, and the critical difference.

The scores of different datasets have no common scale, so rows are compared by their ranks on each dataset (Demsar 2006,
"Statistical comparisons of classifiers over multiple data sets", JMLR 7), by how often a run of one row beats a run of
another, and by scores that are rescaled on each dataset (Agarwal et al. 2021, "Deep reinforcement learning at the edge
of the statistical precipice", NeurIPS 34).

A dataset is one observation. Three datasets are three observations, however many seeds they have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.this_set import Interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

MIN_DATASETS = 3
MAX_PERMUTATIONS = 20_000
"""The number of orders up to which Friedman's test is exact; beyond it, that many are drawn."""
_DRAWS = 2_000
_ROUNDING = 1e-12  # a spread below this is rounding: scores lie in [0, 1] and ranks are at least 1


@dataclass(frozen=True)
class Estimate:
    """A statistic of one row over datasets."""

    value: float
    interval: Interval | None
    """The interval over new datasets of the same kind, with new seeds; None where the statistic does not vary between
    the datasets, so that nothing is known of its spread."""


@dataclass(frozen=True)
class AcrossDatasets:
    """The comparison of R rows over D datasets."""

    ranks: FloatArray
    """The rank (R, D) of each row's mean score on each dataset; 1 is the best, ties share their mean rank."""
    mean_ranks: tuple[Estimate, ...]
    """The mean rank of each row over datasets."""
    win_rates: tuple[Estimate, ...]
    """The chance that a run of the row beats a run of another row on the same dataset, in [0, 1]; ties count half."""
    iqms: tuple[Estimate, ...]
    """The interquartile mean of each row's rescaled scores; empty where no floors were given."""
    iqms_over_seeds: tuple[Interval | None, ...]
    """The interval of each interquartile mean on these datasets, where seeds alone vary; None below two seeds."""
    p: float
    """The p of Friedman's test that all rows are alike."""
    smallest_p: float
    """The smallest p that Friedman's test can reach with this many rows and datasets."""
    critical_difference: float
    """The difference between two mean ranks from which Nemenyi's test separates them."""

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """The largest groups of rows that Nemenyi's test can't separate from each other, best mean rank first."""
        means = np.array([one.value for one in self.mean_ranks])
        order = [int(row) for row in np.argsort(means, kind="stable")]
        found: list[tuple[int, ...]] = []
        for start, first in enumerate(order):
            alike = tuple(row for row in order[start:] if means[row] - means[first] < self.critical_difference)
            if len(alike) > 1 and not (found and set(alike) <= set(found[-1])):
                found.append(alike)
        return found


def compare_across(
    scores: Sequence[Sequence[FloatArray]], floors: FloatArray | None = None, level: float = 0.95, alpha: float = 0.05
) -> AcrossDatasets:
    """Return the comparison of R rows over D datasets.

    ``scores[row][dataset]`` are the scores (S,) of the row's seeds in [0, 1]. ``floors`` (D,) are the scores of the
    majority class: a rescaled score is 0 there and 1 at the best mean of the dataset. ``level`` is that of the
    intervals, ``alpha`` the error of Nemenyi's test.

    Intervals over datasets are Student's t with D - 1 degrees of freedom. The value of one dataset holds the noise of
    its seeds, so that the spread of the values between datasets covers both. The variance of an interquartile mean
    comes from a bootstrap of D - 1 of D datasets (Rao and Wu 1988), which has the variance of the mean right for few.
    Friedman's test permutes ranks within datasets; Nemenyi's test uses the studentized range.

    Raises ValueError below two rows or ``MIN_DATASETS`` datasets, where a row lacks scores on a dataset, and where the
    best mean of a dataset is not above its floor.
    """
    means = _means(scores)
    num_rows, num_datasets = means.shape
    ranks = _ranks(means)
    wins = _wins(scores)
    iqms: tuple[Estimate, ...] = ()
    over_seeds: tuple[Interval | None, ...] = ()
    if floors is not None:
        rescaled = _rescaled(scores, means, floors)
        iqms = tuple(_iqm_estimate(row, level) for row in rescaled)
        over_seeds = tuple(_iqm_over_seeds(row, level) for row in rescaled)
    return AcrossDatasets(
        ranks=ranks,
        mean_ranks=tuple(_t_estimate(row, level, (1.0, float(num_rows))) for row in ranks),
        win_rates=tuple(_t_estimate(row, level, (0.0, 1.0)) for row in wins),
        iqms=iqms,
        iqms_over_seeds=over_seeds,
        p=_friedman(ranks),
        smallest_p=float(math.factorial(num_rows)) ** (1 - num_datasets),
        critical_difference=_critical_difference(num_rows, num_datasets, alpha),
    )


def interquartile_mean(values: FloatArray) -> float:
    """Return the mean of the middle half of ``values``, of any shape: the lowest and highest quarter are left out."""
    from scipy import stats

    return float(stats.trim_mean(values, 0.25, axis=None))


def _means(scores: Sequence[Sequence[FloatArray]]) -> FloatArray:
    """Return the mean score (R, D) of each row on each dataset. Raises ValueError as ``compare_across`` does."""
    if len(scores) < 2:
        raise ValueError(f"a comparison over datasets takes two rows, not {len(scores)}")
    counts = {len(row) for row in scores}
    if len(counts) > 1:
        raise ValueError("the rows have scores on different numbers of datasets")
    if counts.pop() < MIN_DATASETS:
        raise ValueError(f"a comparison over datasets takes at least {MIN_DATASETS} datasets")
    for row in scores:
        for values in row:
            if not len(values) or not np.isfinite(values).all():
                raise ValueError("a row lacks scores on a dataset, or has a score that is not finite")
    return np.array([[values.mean() for values in row] for row in scores])


def _ranks(means: FloatArray) -> FloatArray:
    """Return the ranks (R, D) of mean scores (R, D) on each dataset; the highest score has rank 1."""
    from scipy import stats

    return np.asarray(stats.rankdata(-means.round(12), axis=0), dtype=float)


def _wins(scores: Sequence[Sequence[FloatArray]]) -> FloatArray:
    """Return, for each row and dataset (R, D), the share of pairs of runs that the row wins, mean over other rows."""
    wins = np.empty((len(scores), len(scores[0])))
    for number, row in enumerate(scores):
        others = [other for place, other in enumerate(scores) if place != number]
        for dataset, own in enumerate(row):
            shares = [np.mean((np.sign(own[:, None] - other[dataset]) + 1) / 2) for other in others]
            wins[number, dataset] = np.mean(shares)
    return wins


def _rescaled(scores: Sequence[Sequence[FloatArray]], means: FloatArray, floors: FloatArray) -> list[list[FloatArray]]:
    """Return the scores with 0 at the floor and 1 at the best mean of their dataset."""
    spans = means.max(axis=0) - floors
    if (spans <= 0).any():
        raise ValueError("the best mean of a dataset is not above the score of its majority class")
    return [[(values - floors[d]) / spans[d] for d, values in enumerate(row)] for row in scores]


def _t_estimate(values: FloatArray, level: float, bounds: tuple[float, float]) -> Estimate:
    """Return the mean of one row's values (D,) with Student's t interval over datasets, cut to ``bounds``."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(float(values.mean()), _cut(float(values.mean()), error, len(values) - 1, level, bounds))


def _cut(value: float, error: float, df: int, level: float, bounds: tuple[float, float]) -> Interval | None:
    from scipy import stats

    if error < _ROUNDING:
        return None
    reach = float(stats.t.ppf((1 + level) / 2, df)) * error
    return Interval(max(bounds[0], value - reach), min(bounds[1], value + reach), level)


def _iqm_estimate(row: Sequence[FloatArray], level: float) -> Estimate:
    """Return the interquartile mean of one row's rescaled scores with its interval over datasets."""
    count = len(row)
    drawn = np.random.default_rng(0).integers(count, size=(_DRAWS, count - 1))
    # Few datasets have few different draws, whatever their order.
    different, times = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    values = np.array([interquartile_mean(np.concatenate([row[d] for d in picks])) for picks in different])
    centre = np.average(values, weights=times)
    error = math.sqrt(np.average((values - centre) ** 2, weights=times))
    value = interquartile_mean(np.concatenate(list(row)))
    return Estimate(value, _cut(value, error, count - 1, level, (-math.inf, math.inf)))


def _iqm_over_seeds(row: Sequence[FloatArray], level: float) -> Interval | None:
    """Return the interval of one row's interquartile mean over seeds, datasets fixed.

    Each dataset's S seeds are drawn S - 1 times, for the reason given in ``compare_across``; the bounds are the
    percentiles of the bootstrap.
    """
    from scipy import stats

    if min(map(len, row)) < 2:
        return None
    rng = np.random.default_rng(0)
    drawn = [values[rng.integers(len(values), size=(_DRAWS, len(values) - 1))] for values in row]
    found = stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


def _friedman(ranks: FloatArray) -> float:
    """Return the p of Friedman's test for ranks (R, D), by permutation of the ranks within datasets."""
    from scipy import stats

    def spread(*rows: FloatArray, axis: int) -> FloatArray:
        sums = np.stack([row.sum(axis=axis) for row in rows])
        return np.asarray(np.round((sums**2).sum(axis=0), 9))

    # Where orders are drawn, the p must not depend on the order in which the rows are given.
    test = stats.permutation_test(
        tuple(ranks[np.lexsort(ranks.T)]),
        spread,
        permutation_type="samples",
        vectorized=True,
        n_resamples=MAX_PERMUTATIONS,
        alternative="greater",
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def _critical_difference(num_rows: int, num_datasets: int, alpha: float) -> float:
    from scipy import stats

    quantile = float(stats.studentized_range.ppf(1 - alpha, num_rows, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(num_rows * (num_rows + 1) / (6 * num_datasets))
