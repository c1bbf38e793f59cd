"""Scores as functions of counts of items, and draws of the test items of which such counts are taken.

The counts of a set of items are an array (..., 3, K): true positives, gold items and predicted items of each class.
Items of one group (the aspect terms of one sentence) are drawn together: the unit is the cluster, not the item.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunekit.tasks.label_counts import f1_of, macro_f1, mcc, micro_f1, share

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
"""A score, (...), of counts (..., 3, K)."""

_BLOCK = 4_000_000  # weights that are held at once, 32 MB
_STEP = 1e-4  # of a cluster's weight, by which the derivative of a score is taken


def _precision(counts: FloatArray) -> FloatArray:
    """Return the share of predicted items that are gold, of all classes together."""
    totals = counts.sum(axis=-1)
    return share(totals[..., 0], totals[..., 2])


def _recall(counts: FloatArray) -> FloatArray:
    """Return the share of gold items that are predicted, of all classes together."""
    totals = counts.sum(axis=-1)
    return share(totals[..., 0], totals[..., 1])


def _macro_f1_present(counts: FloatArray) -> FloatArray:
    """Return the mean F1 over the classes that occur among the gold labels."""
    return share(f1_of(counts).sum(axis=-1), (counts[..., 1, :] > 0).sum(axis=-1).astype(np.float64))


def _weighted_f1(counts: FloatArray) -> FloatArray:
    gold = counts[..., 1, :]
    return share((gold * f1_of(counts)).sum(axis=-1), gold.sum(axis=-1))


STATISTICS: Mapping[str, Statistic] = {
    "macro_f1": macro_f1, "macro_f1_present": _macro_f1_present, "weighted_f1": _weighted_f1, "mcc": mcc,
}  # fmt: skip


ENTITY_STATISTICS: Mapping[str, Statistic] = {"precision": _precision, "recall": _recall, "entity_f1": micro_f1}
"""Scores of entities, whose counts are of their types."""


def entity_statistic_of(metric: str, types: Sequence[str]) -> Statistic | None:
    """Return the score of entities called ``metric``, ``f1_X`` of a type X of ``types`` too; None for no such score."""
    kind = metric.removeprefix("f1_")
    if kind != metric and kind in types:
        place = types.index(kind)
        return lambda counts: np.asarray(f1_of(counts)[..., place])
    return ENTITY_STATISTICS.get(metric)


def statistic_of(metric: str) -> Statistic | None:
    """Return the score called ``metric``, ``f1:CLASS`` too; None where it is no score of counts."""
    if metric.startswith("f1:"):
        number = int(metric.removeprefix("f1:"))
        return lambda counts: np.asarray(f1_of(counts)[..., number])
    return STATISTICS.get(metric)


def rarest_of(gold: IntArray) -> IntArray:
    """Return the rarest label of each item (I,) of 0/1 labels (I, C), and C for an item without a label."""
    sizes = gold.sum(axis=0)
    ranked = np.where(gold == 1, sizes, len(gold) + 1)
    found: IntArray = np.where(gold.any(axis=1), ranked.argmin(axis=1), gold.shape[1])
    return found


def codes(groups: IntArray) -> IntArray:
    """Return the groups as consecutive codes from 0, of the same shape."""
    found: IntArray = np.unique(groups, return_inverse=True)[1]
    return found


def counts_of(gold: IntArray, predicted: IntArray, cluster: IntArray, num_classes: int) -> FloatArray:
    """Return the counts of each cluster and seed, (G, S, 3, K), of ``predicted`` (S, I)."""
    shape = (int(cluster.max()) + 1, len(predicted), num_classes)
    cells = (cluster * shape[1] + np.arange(shape[1])[:, None]) * shape[2]

    def count(at: IntArray) -> FloatArray:
        return np.bincount(at.ravel(), minlength=math.prod(shape)).reshape(shape).astype(float)

    right = count((cells + gold)[predicted == gold])
    return np.stack([right, count(cells + gold), count(cells + predicted)], axis=2)


def label_counts_of(gold: IntArray, predicted: IntArray, cluster: IntArray) -> FloatArray:
    """Return the counts of each cluster and seed, (G, S, 3, C), of 0/1 labels (I, C) and predictions (S, I, C)."""
    found = np.zeros((int(cluster.max()) + 1, len(predicted), 3, gold.shape[1]))
    for seed, run in enumerate(predicted):
        for place, values in enumerate((gold * run, gold, run)):
            np.add.at(found[:, seed, place], cluster, values)
    return found


def influence_of(table: FloatArray, statistic: Statistic) -> FloatArray:
    """Return the linearised effect of each cluster of (G, S, 3, K) on the mean score of the seeds, (G,).

    It is the derivative along the weight of the cluster, as Takahashi et al. (2022) take it for F1.
    """
    total = table.sum(axis=0)
    change = (statistic(total + _STEP * table) - statistic(total)) / _STEP
    return np.asarray(change.mean(axis=1))


def strata_of(gold: IntArray, cluster: IntArray, num_classes: int) -> IntArray:
    """Return the stratum of each cluster, consecutive codes (G,): the rarest gold class among its items.

    A class thus keeps its clusters in every draw, except those that hold a rarer class too. A stratum of one cluster
    has no variance of its own and joins the largest ("collapsed strata", Cochran 1977, chapter 5A).
    """
    sizes = np.bincount(gold, minlength=num_classes)
    rank = np.argsort(np.argsort(sizes, kind="stable"))
    strata = np.full(cluster.max() + 1, num_classes)
    np.minimum.at(strata, cluster, rank[gold])
    members = np.bincount(strata)
    return codes(np.where(members[strata] == 1, members.argmax(), strata))


def weights_of(strata: IntArray, draws: int, seed: int) -> Iterator[FloatArray]:
    """Yield the weight of each cluster in each draw, (some draws, G), until there are ``draws`` of them.

    Of the n clusters of a stratum, n - 1 are drawn and weigh n / (n - 1), the rescaled bootstrap of Rao and Wu (1988,
    JASA 83): without it a class of five items has 4/5 of its variance. New text also has another mix of classes: strata
    weigh by Dirichlet shares (Rubin 1981, "The Bayesian bootstrap"), under which none vanishes.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(strata)
    block = max(1, _BLOCK // len(strata))
    for start in range(0, draws, block):
        some = min(block, draws - start)
        shares = rng.dirichlet(sizes, some) * len(strata) / sizes
        weights = np.empty((some, len(strata)))
        for stratum, n in enumerate(sizes):
            picks = rng.integers(n, size=(some, n - 1)) + n * np.arange(some)[:, None]
            picked = np.bincount(picks.ravel(), minlength=some * n).reshape(some, n)
            weights[:, strata == stratum] = picked * (shares[:, [stratum]] * n / (n - 1))
        yield weights


def degrees_of_freedom(influence: FloatArray, strata: IntArray) -> float:
    """Return the Satterthwaite degrees of freedom of the items' part.

    They are few where a class of few items has most of the variance.
    """
    sizes = np.bincount(strata)
    means = np.bincount(strata, influence) / sizes
    within = np.bincount(strata, (influence - means[strata]) ** 2) * sizes / (sizes - 1)
    variances = np.append(within, np.sum(sizes * means**2))
    if not variances.any():
        return len(strata) - 1.0
    return float(variances.sum() ** 2 / np.sum(variances**2 / np.append(sizes - 1, len(strata) - 1)))
