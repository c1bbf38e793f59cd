"""Scores as functions of counts of items, by which training scores labels and the analysis scores resampled items.

The counts of a set of items are an array (..., 3, C): true positives, gold items and predicted items of each of C
labels. F1 is scikit-learn's with ``zero_division=0``, to the last bit for one set of items. The scores are computed
here because scikit-learn takes a second to import in each process that trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


def counts_of_labels(gold: npt.NDArray[Any], predicted: npt.NDArray[Any], num_labels: int) -> FloatArray:
    """Return the counts (3, C) of N items with one label each, given as integers (N,) in 0..C-1."""
    import numpy as np

    parts = (gold[gold == predicted], gold, predicted)
    return np.stack([np.bincount(part, minlength=num_labels) for part in parts]).astype(np.float64)


def counts_of_label_sets(gold: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> FloatArray:
    """Return the counts (3, C) of N items with several labels each, given as 0/1 (N, C)."""
    import numpy as np

    return np.stack([(part != 0).sum(axis=0) for part in (gold * predicted, gold, predicted)]).astype(np.float64)


def f1_of(counts: FloatArray) -> FloatArray:
    """Return the F1 of each label, (..., C): 0 for a label that is neither gold nor predicted."""
    return 2 * share(counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :])


def micro_f1(counts: FloatArray) -> FloatArray:
    """Return the F1 of all labels together (...): accuracy, where each item has one label."""
    totals = counts.sum(axis=-1)
    return 2 * share(totals[..., 0], totals[..., 1] + totals[..., 2])


def macro_f1(counts: FloatArray) -> FloatArray:
    """Return the mean (...) of the F1 of all labels."""
    import numpy as np

    return np.asarray(f1_of(counts).mean(axis=-1))


def mcc(counts: FloatArray) -> FloatArray:
    """Return the Matthews correlation (...) over all labels, in [-1, 1] (Gorodkin, 2004), of items with one label each.

    It is 0 where one label alone is gold or predicted.
    """
    import numpy as np

    right, gold, predicted = (counts[..., part, :] for part in range(3))
    total = gold.sum(axis=-1)
    product = right.sum(axis=-1) * total - (gold * predicted).sum(axis=-1)
    spreads = [np.maximum(total**2 - (part**2).sum(axis=-1), 0) for part in (gold, predicted)]
    return share(product, np.sqrt(spreads[0] * spreads[1]))


def share(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Return ``part`` divided by ``whole``, of one shape, and 0 where ``whole`` is not above 0."""
    import numpy as np

    quotient: FloatArray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return quotient
