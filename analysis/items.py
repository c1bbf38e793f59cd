"""How sure a score is for another draw of the same kind of items: the bootstrap over items, by clusters."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2_000


def item_standard_error(frames: Sequence[pd.DataFrame], metric: str, num_classes: int, seed: int = 0) -> float:
    """Standard error, in [0, 1], of a score averaged over training seeds, for other items of the same kind.

    ``frames`` holds the scored items of each seed (``predictions.read_predictions``), ``metric`` is accuracy or
    macro_f1. Whole groups are drawn, for items of one sentence stand together, and the same for all seeds (Efron and
    Tibshirani 1993, "An Introduction to the Bootstrap", chapter 6). The seeds stay as they are. ValueError without
    items, for another metric, and where a label lies outside 0..C-1.
    """
    if not frames or any(frame.empty for frame in frames):
        raise ValueError("no items")
    if metric not in SCORES:
        raise ValueError(f"the standard error over items is known for {' and '.join(SCORES)}, not for {metric}")
    groups = pd.Index(frames[0]["group_id"].unique())
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=RESAMPLES)  # (B, G)
    total = np.zeros(RESAMPLES)
    for frame in frames:
        counts = np.zeros((len(groups), num_classes, num_classes))
        labels = [frame[name].to_numpy() for name in ("gold", "predicted")]
        if max(column.max() for column in labels) >= num_classes:
            raise ValueError(f"a label lies outside 0 to {num_classes - 1}")
        np.add.at(counts, (groups.get_indexer(frame["group_id"]), *labels), 1)
        total += SCORES[metric](np.tensordot(draws, counts, axes=1))
    return float(np.std(total / len(frames), ddof=1))


def _accuracy(confusion: FloatArray) -> FloatArray:
    """Accuracy (B,) of each confusion matrix (B, C, C), gold by predicted."""
    hits = np.trace(confusion, axis1=1, axis2=2)
    return np.asarray(hits / confusion.sum(axis=(1, 2)))


def _macro_f1(confusion: FloatArray) -> FloatArray:
    """Macro-F1 (B,) of each confusion matrix (B, C, C); a class that is neither gold nor predicted counts 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    sizes = confusion.sum(axis=1) + confusion.sum(axis=2)
    return np.asarray(np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0).mean(axis=1))


SCORES = {"accuracy": _accuracy, "macro_f1": _macro_f1}
