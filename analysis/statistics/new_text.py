"""Intervals and tests that hold on new texts from the same source: seeds and test items both vary.

Every seed of a row is scored on the same items, and two rows share the items but not the seeds: crossed random effects,

    score of seed s on item i = mean + seed_s + item_i + interaction_si.

The variance of a row's mean is estimated in parts (Brennan 2001, "Generalizability Theory"; Owen 2007, "The pigeonhole
bootstrap", Annals of Applied Statistics 1(2)): ``seed``, the variance of the seeds' scores over S, and ``item``, the
sampling variance over items of the score averaged over seeds. Each contains the interaction once, so that one is taken
off: V = seed + item - interaction. Seeds alone would miss the items; a plain crossed resampling counts it three times.

Accuracy is analytic: the crossed analysis of variance on cluster totals (Cochran 1977, "Sampling Techniques", chapter
9A). Percentiles over five seeds under-cover, so for the other scores a crossed bootstrap serves for variances alone.
Its seeds need no draws: the variance of resampled means, corrected by S / (S - 1), is the sample variance over S. Items
are drawn jointly for all seeds and rows, by cluster within classes; degrees of freedom come from the linearised score.
The scores of a regression (Pearson, Spearman, RMSE) are resampled alike, without classes, and those of entities with
their types as the classes: the item is a text, and a cluster one or several of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.statistics.entity_counts import entity_counts_of
from analysis.statistics.resampling import (
    ENTITY_STATISTICS,
    FloatArray,
    IntArray,
    Statistic,
    codes,
    counts_of,
    degrees_of_freedom,
    entity_statistic_of,
    influence_of,
    label_counts_of,
    rarest_of,
    statistic_of,
    strata_of,
    weights_of,
)
from analysis.statistics.this_set import MIN_SEEDS, Difference, Interval, Spread, TTest, over_seeds
from tunekit.tasks.label_counts import micro_f1
from tunekit.tasks.number_scores import NUMBER_SCORES, NumberScore

DRAWS = 2000
_ROUNDING = 1e-24  # a variance below this is rounding: one item is worth far more than 1e-12
_SHARES = ("accuracy", "micro_f1")  # one label an item: over all classes, micro-F1 is accuracy


@dataclass(frozen=True)
class SeedPredictions:
    """One cell's predictions on one split: ``gold`` (I,), ``predicted`` (S, I) with a row a seed, and ``groups`` (I,).

    Labels are in [0, num_classes), or any numbers where there are no classes. Where an item has several labels, gold is
    (I, num_classes) and predicted (S, I, num_classes) of 0 and 1. Where words have tags, an item is a text, its label
    is the text of its tags, and the classes are the types of entities. Groups are any integers. Raises ValueError where
    shapes or labels do not fit, or where all items are in one group, which says nothing of the spread over items.
    """

    gold: npt.NDArray[Any]
    predicted: npt.NDArray[Any]
    groups: IntArray
    num_classes: int
    """0 for the numbers of a regression."""
    types: tuple[str, ...] = ()
    """The types of entities where words have tags."""

    def __post_init__(self) -> None:
        shapes = self.gold.shape, self.groups.shape, self.predicted.shape
        wide = (self.num_classes,) if self.several else ()
        if self.predicted.ndim != 2 + len(wide) or not shapes[0] == (*shapes[1], *wide) == shapes[2][1:]:
            raise ValueError(f"gold, groups and predicted must be (I,), (I,) and (S, I), not {shapes}")
        for name, labels in (("gold", self.gold), ("predicted", self.predicted)):
            if self.several and not np.isin(labels, (0, 1)).all():
                raise ValueError(f"{name} has labels other than 0 and 1")
            is_class = self.num_classes and labels.size and not self.several and not self.types
            if is_class and not 0 <= labels.min() <= labels.max() < self.num_classes:
                raise ValueError(f"{name} has labels outside [0, {self.num_classes})")
        if not np.any(self.groups != self.groups[:1]):
            raise ValueError("the items stand in fewer than two groups: their spread can not be estimated")

    @property
    def several(self) -> bool:
        """Whether an item has several labels."""
        return self.gold.ndim == 2

    def same_items(self, other: "SeedPredictions") -> bool:
        """Return whether gold labels, groups and classes are those of ``other``."""
        mine, others = (self.gold, self.groups), (other.gold, other.groups)
        same = all(one is two or np.array_equal(one, two) for one, two in zip(mine, others, strict=True))
        return same and self.num_classes == other.num_classes


@dataclass(frozen=True)
class Variation:
    """One row's score of each seed, and how the scores vary over items."""

    runs: SeedPredictions
    test: str
    """The name of the analysis that estimated the variation."""
    scores: FloatArray
    """The score of each seed, (S,)."""
    deviations: FloatArray
    """The deviations over items, (N, S), columns of mean 0; their sums of squares over ``divisor`` are variances."""
    divisor: float
    influence: FloatArray
    """The effect of each cluster on the mean score, (G,)."""
    strata: IntArray
    """The stratum of each cluster, (G,)."""
    draws_df: float = math.inf
    """The degrees of freedom of the draws that gave the variances over items; infinite where none were drawn."""

    @cached_property
    def average(self) -> FloatArray:
        """The deviations of the mean over seeds, (N,)."""
        return np.asarray(self.deviations.mean(axis=1))

    @cached_property
    def seed(self) -> float:
        """The variance over seeds of the mean, with the interaction in it."""
        return float(np.var(self.scores, ddof=1) / len(self.scores))

    @cached_property
    def interaction(self) -> float:
        """The part of the mean's variance that is neither the seeds' nor the items' own."""
        n = len(self.scores)
        return float(np.sum((self.deviations - self.average[:, None]) ** 2) / (self.divisor * n * (n - 1)))


def is_of_items(metric: str) -> bool:
    """Return whether ``metric`` is a score of single items, so that it has a test on new texts."""
    of_entities = metric in ENTITY_STATISTICS or metric.startswith("f1_")
    return metric in _SHARES or metric in NUMBER_SCORES or of_entities or statistic_of(metric) is not None


def variations(rows: Sequence[SeedPredictions], metric: str, draws: int = DRAWS, seed: int = 0) -> list[Variation]:
    """Return how each row varies over seeds and items; the rows must have been scored on the same items.

    Raises ValueError where they were not, where ``metric`` is no score of items, or for fewer than two draws.
    """
    if not all(row.same_items(rows[0]) for row in rows):
        raise ValueError("the rows were not scored on the same items: gold labels, groups or classes differ")
    statistic = micro_f1 if metric == "micro_f1" and rows[0].several else statistic_of(metric)
    if rows[0].types:
        statistic = entity_statistic_of(metric, rows[0].types)
    if metric in NUMBER_SCORES:
        return _resampled_numbers(rows, NUMBER_SCORES[metric], draws, seed)
    if metric in _SHARES and not rows[0].several and not rows[0].types:
        cluster = codes(rows[0].groups)
        return [_accuracy(row, cluster) for row in rows]
    if statistic is None:
        raise ValueError(f"{metric} is no score of single items")
    if draws < 2:
        raise ValueError(f"draws is {draws}: a variance needs at least 2")
    return _resampled(rows, statistic, draws, seed)


def interval(row: Variation, level: float = 0.95) -> Interval | None:
    """Return the interval of the mean score over new seeds and new items.

    It takes Satterthwaite's (1946) degrees of freedom and Student's quantile. It is never narrower than Student's
    interval over seeds alone, whose degrees of freedom are fewer: what holds for more can't be known more exactly.
    Returns None below three seeds, and where nothing varies.
    """
    found = _estimate([row], 1.0, level)
    return None if found is None else found.interval


def difference(a: Variation, b: Variation, factor: float = 1.0, level: float = 0.95) -> Difference | None:
    """Return the test of the mean score of ``a`` minus ``factor`` times that of ``b``, over new seeds and new items.

    The items' part is that of the difference, so that what both rows find hard cancels. Welch's test over seeds alone
    has to find the difference too. Returns None below three seeds of either, and where nothing varies. Raises
    ValueError unless both were scored on the same items.
    """
    if not a.runs.same_items(b.runs):
        raise ValueError("the two rows were not scored on the same items: gold labels, groups or classes differ")
    return _estimate([a, b], factor, level)


def _accuracy(runs: SeedPredictions, cluster: IntArray) -> Variation:
    """Return the variation of accuracy, from the clusters' totals of deviations from each seed's mean."""
    clusters = int(cluster.max()) + 1
    hits = runs.predicted == runs.gold
    scores = hits.mean(axis=1)
    totals = np.zeros((clusters, len(hits)))
    np.add.at(totals, cluster, (hits - scores[:, None]).T / len(runs.gold))
    one_stratum = np.zeros(clusters, dtype=int)
    divisor = (clusters - 1) / clusters
    return Variation(runs, "crossed analysis of variance", scores, totals, divisor, totals.mean(axis=1), one_stratum)


def _resampled(rows: Sequence[SeedPredictions], statistic: Statistic, draws: int, seed: int) -> list[Variation]:
    """Return the variation of each row's score over draws of the items, the same draws for all rows."""
    first = rows[0]
    cluster = codes(first.groups)
    if first.types:
        counts = [entity_counts_of(row.gold, row.predicted, row.types, cluster) for row in rows]
        strata = strata_of(rarest_of((counts[0].of_gold > 0).astype(np.int64)), cluster, first.num_classes + 1)
        tables = [one.tables for one in counts]
    elif first.several:
        # An item without a label is of a class of its own, so that strata are as those of classes.
        rarest = rarest_of(first.gold)
        strata = strata_of(rarest, cluster, first.num_classes + 1)
        tables = [label_counts_of(row.gold, row.predicted, cluster) for row in rows]
    else:
        strata = strata_of(first.gold, cluster, first.num_classes)
        tables = [counts_of(row.gold, row.predicted, cluster, row.num_classes) for row in rows]
    flat = np.concatenate(tables, axis=1).reshape(len(strata), -1)
    drawn = [
        statistic((weights @ flat).reshape(len(weights), -1, 3, first.num_classes))
        for weights in weights_of(strata, draws, seed)
    ]
    resampled = np.concatenate(drawn)
    parts = np.split(resampled - resampled.mean(axis=0), np.cumsum([len(row.predicted) for row in rows])[:-1], axis=1)
    return [
        Variation(
            runs=row,
            test="crossed bootstrap",
            scores=statistic(table.sum(axis=0)),
            deviations=part,
            divisor=draws - 1,
            influence=influence_of(table, statistic),
            strata=strata,
            draws_df=draws - 1,
        )
        for row, table, part in zip(rows, tables, parts, strict=True)
    ]


def _resampled_numbers(rows: Sequence[SeedPredictions], score: NumberScore, draws: int, seed: int) -> list[Variation]:
    """Return the variation of each row's score of numbers over draws of the clusters, the same draws for all rows.

    Numbers have no classes: all clusters are one stratum, and the items' degrees of freedom are their number less 1.
    """
    cluster = codes(rows[0].groups)
    one_stratum = np.zeros(int(cluster.max()) + 1, dtype=int)
    weights = list(weights_of(one_stratum, draws, seed))
    found = []
    for row in rows:
        gold, predicted = row.gold.astype(np.float64), row.predicted.astype(np.float64)
        resampled = np.concatenate([score(some, gold, predicted, cluster) for some in weights])
        found.append(
            Variation(
                runs=row,
                test="crossed bootstrap",
                scores=score(np.ones((1, len(one_stratum))), gold, predicted, cluster)[0],
                deviations=resampled - resampled.mean(axis=0),
                divisor=draws - 1,
                influence=np.zeros(len(one_stratum)),
                strata=one_stratum,
                draws_df=draws - 1,
            )
        )
    return found


def _estimate(rows: Sequence[Variation], factor: float, level: float) -> Difference | None:
    """Return the mean of one row, or the difference of two, with its variance V = seed + item - interaction.

    V is never below either of its first two parts, which a noisy interaction would take away. None as ``interval``.
    """
    if any(len(row.scores) < MIN_SEEDS for row in rows):
        return None
    signs = (1.0, -factor)[: len(rows)]
    weighted = list(zip(signs, rows, strict=True))
    average, influence = (
        np.sum([sign * values for sign, values in zip(signs, of_rows, strict=True)], axis=0)
        for of_rows in ([row.average for row in rows], [row.influence for row in rows])
    )
    item = float(np.sum(average**2) / rows[0].divisor)
    item_df = 1 / (1 / degrees_of_freedom(influence, rows[0].strata) + 1 / rows[0].draws_df)
    parts = [(item, item_df)]
    for sign, row in weighted:
        n = len(row.scores)
        parts += [(sign**2 * row.seed, n - 1), (sign**2 * row.interaction, item_df * (n - 1))]
    seed = sum(part for part, _ in parts[1::2])
    interaction = sum(part for part, _ in parts[2::2])
    variance = max(seed + item - interaction, seed, item)
    if variance < _ROUNDING:
        return None
    stds = [abs(sign) * math.sqrt(row.seed * len(row.scores)) for sign, row in weighted]
    counts = [len(row.scores) for row in rows]
    tests = [TTest(rows[0].test, math.sqrt(variance), variance**2 / sum(part**2 / df for part, df in parts))]
    tests += [over_seeds(stds, counts)] if any(stds) else []
    floor = max(item - interaction, 0.0)
    items = rows[0].runs.gold
    return Difference(
        difference=float(sum(sign * row.scores.mean() for sign, row in weighted)),
        tests=tuple(tests),
        spread=Spread(
            stds[0], stds[-1], counts[0], counts[-1], floor, item_df, items=len(items), groups=len(rows[0].strata)
        ),
        level=level,
    )
