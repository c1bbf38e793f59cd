"""Intervals and tests that hold on new text of the same kind: seeds and test items both vary.

Every seed of a row is scored on the same items, and two rows share the items but not the seeds: crossed random effects,

    score of seed s on item i = mean + seed_s + item_i + interaction_si.

The variance of a row's mean is estimated in parts (Brennan 2001, "Generalizability Theory"; Owen 2007, "The pigeonhole
bootstrap", Annals of Applied Statistics 1(2)): ``seed``, the variance of the seeds' scores over S, and ``item``, the
sampling variance over items of the score averaged over seeds. Each contains the interaction once, so that one is taken
off: V = seed + item - interaction. Seeds alone would miss the items; a plain crossed resampling counts it three times.

Items of one group (the aspect terms of one sentence) are drawn together: the unit is the cluster, not the item.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.this_set import Comparison, Interval, t_interval

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.float64]

MIN_SEEDS = 3
_BLOCK = 4_000_000  # weights that the bootstrap holds at once, 32 MB
_ROUNDING = 1e-24  # a variance below this is rounding: one item is worth far more than 1e-12


@dataclass(frozen=True)
class SeedPredictions:
    """One cell's predictions on one split: ``gold`` (I,), ``predicted`` (S, I) a row a seed, ``groups`` (I,).

    Labels are in [0, num_classes), groups any integers. ValueError where shapes or labels do not fit, or where all
    items stand in one group, which says nothing of the spread over items.
    """

    gold: IntArray
    predicted: IntArray
    groups: IntArray
    num_classes: int

    def __post_init__(self) -> None:
        shapes = self.gold.shape, self.groups.shape, self.predicted.shape
        if self.predicted.ndim != 2 or not shapes[0] == shapes[1] == shapes[2][1:]:
            raise ValueError(f"gold, groups and predicted must be (I,), (I,) and (S, I), not {shapes}")
        for name, labels in (("gold", self.gold), ("predicted", self.predicted)):
            if labels.size and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise ValueError(f"{name} has labels outside [0, {self.num_classes})")
        if len(np.unique(self.groups)) < 2:
            raise ValueError("the items stand in fewer than two groups: their spread can not be estimated")


@dataclass(frozen=True)
class _Estimate:
    """A mean score or the difference of two, its variance over seeds and items, Satterthwaite degrees of freedom."""

    value: float
    variance: float
    df: float


def accuracy_interval(runs: SeedPredictions, level: float = 0.95) -> Interval | None:
    """Interval of the mean accuracy, in [0, 1], over new seeds and new items.

    Analytic: the crossed analysis of variance of the module's text on cluster totals (Cochran 1977, "Sampling
    Techniques", chapter 9A), Satterthwaite (1946) degrees of freedom, Student-t quantile. None below three seeds, and
    where nothing varies.
    """
    return _interval(_accuracy([runs]), level) if _enough(runs) else None


def accuracy_difference(a: SeedPredictions, b: SeedPredictions, level: float = 0.95) -> Comparison | None:
    """Two-sided test of the mean accuracy of ``a`` minus that of ``b``, as ``accuracy_interval``.

    The items' part is that of the difference, so that what both rows find hard cancels. ValueError unless both were
    scored on the same items; None below three seeds of either, and where nothing varies.
    """
    _same_items(a, b)
    return _comparison(_accuracy([a, b]), level, "crossed ANOVA t") if _enough(a, b) else None


def macro_f1_interval(runs: SeedPredictions, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval | None:
    """Interval of the mean macro-F1, in [0, 1], over new seeds and new items; macro-F1 over all ``num_classes``.

    Percentiles over five seeds under-cover, so the crossed bootstrap serves for variances alone. Its seeds need no
    draws: the variance of resampled means, corrected by S / (S - 1), is the sample variance over S. Items are drawn
    ``draws`` times, jointly for all seeds, by cluster within classes, for the item part and the interaction; degrees of
    freedom come from the linearised score. None below three seeds, and where nothing varies.
    """
    return _interval(_macro_f1([runs], draws, seed), level) if _enough(runs) else None


def macro_f1_difference(
    a: SeedPredictions, b: SeedPredictions, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Comparison | None:
    """Two-sided test of the mean macro-F1 of ``a`` minus that of ``b``, as ``macro_f1_interval``.

    Items are drawn jointly for both rows. ValueError unless both were scored on the same items; None below three seeds
    of either, and where nothing varies.
    """
    _same_items(a, b)
    return _comparison(_macro_f1([a, b], draws, seed), level, "crossed bootstrap t") if _enough(a, b) else None


def _enough(*rows: SeedPredictions) -> bool:
    return all(len(row.predicted) >= MIN_SEEDS for row in rows)


def _same_items(a: SeedPredictions, b: SeedPredictions) -> None:
    same_items = np.array_equal(a.gold, b.gold) and np.array_equal(a.groups, b.groups)
    if not (same_items and a.num_classes == b.num_classes):
        raise ValueError("the two rows were not scored on the same items: gold labels, groups or classes differ")


def _interval(estimate: _Estimate | None, level: float) -> Interval | None:
    if estimate is None:
        return None
    return t_interval(estimate.value, math.sqrt(estimate.variance), estimate.df, level)


def _comparison(estimate: _Estimate | None, level: float, test: str) -> Comparison | None:
    from scipy import stats

    interval = _interval(estimate, level)
    if estimate is None or interval is None:
        return None
    p = 2 * stats.t.sf(abs(estimate.value) / math.sqrt(estimate.variance), estimate.df)
    return Comparison(estimate.value, interval, float(p), estimate.df, test)


# --- the two metrics: each seed's score, and how it varies over items


def _accuracy(rows: list[SeedPredictions]) -> _Estimate | None:
    """Accuracy of rows[0] (minus rows[1]); items by the clusters' totals of deviations from each seed's mean."""
    cluster = _codes(rows[0].groups)
    clusters = int(cluster.max()) + 1
    scores, totals = [], []
    for row in rows:
        hits = row.predicted == row.gold
        scores.append(hits.mean(axis=1))
        totals.append(np.zeros((clusters, len(hits))))
        np.add.at(totals[-1], cluster, (hits - scores[-1][:, None]).T / len(row.gold))
    return _estimate(scores, totals, (clusters - 1) / clusters, clusters - 1)


def _macro_f1(rows: list[SeedPredictions], draws: int, seed: int) -> _Estimate | None:
    """Macro-F1 of rows[0] (minus rows[1]); items by each seed's deviations over draws of the same items for all."""
    if draws < 2:
        raise ValueError(f"draws is {draws}: a variance needs at least 2")
    cluster = _codes(rows[0].groups)
    strata = _strata(rows[0], cluster)
    tables = [_counts(row, cluster) for row in rows]
    joined = np.concatenate(tables, axis=1)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(strata))
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    drawn = np.concatenate([_weights(strata, size, rng) @ joined.reshape(len(strata), -1) for size in sizes])
    resampled = _macro(drawn.reshape(draws, *joined.shape[1:]))
    deviations = np.split(resampled - resampled.mean(axis=0), [tables[0].shape[1]], axis=1)[: len(rows)]
    influence = _contrast([_influence(table) for table in tables])
    return _estimate([_macro(table.sum(axis=0)) for table in tables], deviations, draws - 1, _df(influence, strata))


def _codes(groups: IntArray) -> IntArray:
    """Groups as consecutive codes from 0, of the same shape."""
    codes: IntArray = np.unique(groups, return_inverse=True)[1]
    return codes


def _counts(row: SeedPredictions, cluster: IntArray) -> FloatArray:
    """Of each cluster, seed and class: true positives, and gold plus predicted items; (G, S, 2, K)."""
    shape = (int(cluster.max()) + 1, len(row.predicted), row.num_classes)
    cells = (cluster * shape[1] + np.arange(shape[1])[:, None]) * shape[2]

    def count(at: IntArray) -> FloatArray:
        return np.bincount(at.ravel(), minlength=math.prod(shape)).reshape(shape).astype(float)

    support = count(cells + row.gold) + count(cells + row.predicted)
    return np.stack([count((cells + row.gold)[row.predicted == row.gold]), support], axis=2)


def _macro(counts: FloatArray) -> FloatArray:
    """Macro-F1 of counts (..., 2, K), as (...): the mean of 2 tp / (gold + predicted), 0 for a class in neither."""
    f1 = 2 * _divide(counts[..., 0, :], counts[..., 1, :])
    return np.asarray(f1.mean(axis=-1))


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    quotient: FloatArray = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return quotient


def _influence(table: FloatArray) -> FloatArray:
    """Linearised effect of each cluster of (G, S, 2, K) on the seeds' mean macro-F1, (G,) (Takahashi et al. 2022)."""
    total = table.sum(axis=0)
    change = 2 * (table[:, :, 0] - _divide(total[:, 0], total[:, 1]) * table[:, :, 1])
    return np.asarray(_divide(change, np.broadcast_to(total[:, 1], change.shape)).mean(axis=(1, 2)))


def _strata(row: SeedPredictions, cluster: IntArray) -> IntArray:
    """Stratum of each cluster, consecutive codes (G,): the rarest gold class among its items.

    A class thus keeps its clusters in every draw, those apart that hold a rarer class too. A stratum of one cluster
    has no variance of its own and joins the largest ("collapsed strata", Cochran 1977, chapter 5A).
    """
    sizes = np.bincount(row.gold, minlength=row.num_classes)
    rank = np.argsort(np.argsort(sizes, kind="stable"))
    strata = np.full(cluster.max() + 1, row.num_classes)
    np.minimum.at(strata, cluster, rank[row.gold])
    members = np.bincount(strata)
    return _codes(np.where(members[strata] == 1, members.argmax(), strata))


def _weights(strata: IntArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Weight of each cluster in each draw, (draws, G).

    Within a stratum of n, n - 1 are drawn and weigh n / (n - 1), the rescaled bootstrap of Rao and Wu (1988, JASA 83):
    without it a class of five items has 4/5 of its variance. New text also has another mix of classes: strata weigh by
    Dirichlet shares (Rubin 1981, "The Bayesian bootstrap"), under which none vanishes.
    """
    sizes = np.bincount(strata)
    shares = rng.dirichlet(sizes, draws) * len(strata) / sizes
    weights = np.empty((draws, len(strata)))
    for stratum, n in enumerate(sizes):
        picks = rng.integers(n, size=(draws, n - 1)) + n * np.arange(draws)[:, None]
        picked = np.bincount(picks.ravel(), minlength=draws * n).reshape(draws, n)
        weights[:, strata == stratum] = picked * (shares[:, [stratum]] * n / (n - 1))
    return weights


def _df(influence: FloatArray, strata: IntArray) -> float:
    """Satterthwaite degrees of freedom of the items' part: few where a class of few items has most of the variance."""
    sizes = np.bincount(strata)
    means = np.bincount(strata, influence) / sizes
    within = np.bincount(strata, (influence - means[strata]) ** 2) * sizes / (sizes - 1)
    variances = np.append(within, np.sum(sizes * means**2))
    if not variances.any():
        return len(strata) - 1.0
    return float(variances.sum() ** 2 / np.sum(variances**2 / np.append(sizes - 1, len(strata) - 1)))


# --- the crossed design


def _contrast(parts: list[FloatArray]) -> FloatArray:
    return parts[0] if len(parts) == 1 else parts[0] - parts[1]


def _estimate(
    scores: list[FloatArray], deviations: list[FloatArray], divisor: float, item_df: float
) -> _Estimate | None:
    """Mean (difference) of ``scores`` (S,) a row, with V = seed + item - interaction.

    ``deviations`` (N, S) a row, columns of mean 0, whose sums of squares over ``divisor`` are variances over items:
    of the mean over seeds for ``item``, of what is left of each seed for ``interaction``. V is never below one of its
    two first parts, which a noisy interaction would otherwise take away. None where nothing varies.
    """
    averages = [values.mean(axis=1) for values in deviations]
    item = float(np.sum(_contrast(averages) ** 2) / divisor)
    parts = [(item, item_df)]
    seed = interaction = 0.0
    for row, values, average in zip(scores, deviations, averages, strict=True):
        n = len(row)
        of_seeds = float(np.var(row, ddof=1) / n)
        left = float(np.sum((values - average[:, None]) ** 2) / (divisor * n * (n - 1)))
        parts += [(of_seeds, n - 1), (left, item_df * (n - 1))]
        seed += of_seeds
        interaction += left
    variance = max(seed + item - interaction, seed, item)
    value = float(_contrast([row.mean(keepdims=True) for row in scores])[0])
    if variance < _ROUNDING:
        return None
    return _Estimate(value, variance, variance**2 / sum(part**2 / df for part, df in parts))
