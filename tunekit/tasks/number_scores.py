"""Scores of numeric predictions under weights of the items, so that draws of the items can be scored.

A draw gives each cluster of items a weight: the number of times that it was drawn. A score under weights is the score
of the items, each repeated as often as its weight says. Weights need not be whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.integer[Any]]

NumberScore = Callable[["FloatArray", "FloatArray", "FloatArray", "IntArray"], "FloatArray"]
"""``score(weights, gold, predicted, cluster)`` returns (D, S) scores of D draws and S seeds.

``weights`` are (D, G) of the clusters, ``gold`` (I,), ``predicted`` (S, I), ``cluster`` (I,) the cluster of each item.
"""


def _moments(
    weights: FloatArray, gold: FloatArray, predicted: FloatArray, cluster: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return weighted moments (D, S) of gold and predicted values.

    They are the sums of squares of gold and of predicted about their means, the sum of their products about their
    means, and the mean squared error.
    """
    import numpy as np

    num_clusters = weights.shape[1]

    def total(values: FloatArray) -> FloatArray:
        """Return the weighted sum of each draw, (D, S), of values (S, I) or (I,)."""
        rows = np.atleast_2d(values)
        return weights @ np.stack([np.bincount(cluster, row, num_clusters) for row in rows], axis=1)

    # About means of all items, so that no digits are lost where targets lie far from 0.
    one, other = gold - gold.mean(), predicted - predicted.mean(axis=1, keepdims=True)
    size = total(np.ones(len(gold)))
    first, second = total(one), total(other)
    return (
        total(one**2) - first**2 / size,
        total(other**2) - second**2 / size,
        total(one * other) - first * second / size,
        total((predicted - gold) ** 2) / size,
    )


def _correlation(squares: FloatArray, others: FloatArray, products: FloatArray) -> FloatArray:
    import numpy as np

    bottom = np.sqrt(np.maximum(squares, 0) * np.maximum(others, 0))
    found: FloatArray = np.divide(products, bottom, out=np.zeros_like(bottom), where=bottom > 0)
    return np.clip(found, -1, 1)


def pearson(weights: FloatArray, gold: FloatArray, predicted: FloatArray, cluster: IntArray) -> FloatArray:
    """Return Pearson's r (D, S); 0 where gold or predicted do not vary."""
    import numpy as np

    constant = np.ptp(predicted, axis=1) == 0  # the sums of squares of equal values are rounding, not 0
    return np.where(constant, 0.0, _correlation(*_moments(weights, gold, predicted, cluster)[:3]))


def rmse(weights: FloatArray, gold: FloatArray, predicted: FloatArray, cluster: IntArray) -> FloatArray:
    """Return the root of the mean squared error (D, S), in the unit of the target."""
    import numpy as np

    return np.sqrt(_moments(weights, gold, predicted, cluster)[3])


def spearman(weights: FloatArray, gold: FloatArray, predicted: FloatArray, cluster: IntArray) -> FloatArray:
    """Return Spearman's rho (D, S): Pearson's r of the ranks among the drawn items, equal values at their mean rank."""
    import numpy as np

    of_items = weights[:, cluster]  # (D, I)
    size = of_items.sum(axis=1, keepdims=True)
    gold_ranks = _ranks(gold, of_items)
    found = []
    for values in predicted:
        one, other = gold_ranks - size / 2, _ranks(values, of_items) - size / 2  # the mean rank is half the size
        sums = [(of_items * a * b).sum(axis=1) for a, b in ((one, one), (other, other), (one, other))]
        found.append(_correlation(*sums) if np.ptp(values) else np.zeros(len(weights)))
    return np.stack(found, axis=1)


def _ranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the rank of each item (D, I): the weight of all lower items, and half the weight of its equals."""
    import numpy as np

    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    totals = np.add.reduceat(weights[:, order], starts, axis=1)  # (D, groups)
    ranks: FloatArray = (np.cumsum(totals, axis=1) - totals / 2)[:, group]
    return ranks


NUMBER_SCORES: Mapping[str, NumberScore] = {"pearson": pearson, "spearman": spearman, "rmse": rmse}
"""The scores of single items of a regression, as ``tunekit.tasks.regression`` defines them."""
