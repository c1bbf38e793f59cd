"""Which configuration a search chooses, and how sure its dev set is: pure arithmetic over what a study recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tunekit.errors import UserError

RESAMPLES = 2_000


@dataclass(frozen=True)
class Candidate:
    """A completed configuration."""

    number: int
    score: float
    """On validation, in [0, 1], higher is better."""
    num_trainable_params: int


@dataclass(frozen=True)
class Chosen:
    """What a study's scores allow to choose."""

    best: int
    """Number of the configuration with the best score; the earliest of equals."""
    one_se: int
    """Of those within one standard error of it, the one with the fewest trainable parameters; then the best of them."""
    within: tuple[int, ...]
    """Numbers of all within one standard error of the best, the best first."""


def choose(candidates: Sequence[Candidate], standard_error: float) -> Chosen:
    """The best configuration and the cheapest one that its dev set can't tell from it.

    The one-standard-error rule of Breiman et al., Classification and Regression Trees (1984), with trainable parameters
    as the cost. ``standard_error`` is that of the best's score. Raises ValueError where there are no candidates.
    """
    if not candidates:
        raise ValueError("no configuration completed")
    ranked = sorted(candidates, key=lambda one: (-one.score, one.number))
    within = [one for one in ranked if one.score >= ranked[0].score - standard_error]
    cheapest = min(within, key=lambda one: (one.num_trainable_params, -one.score, one.number))
    return Chosen(ranked[0].number, cheapest.number, tuple(one.number for one in within))


def pareto(values: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Positions of the points that no other one beats: none is as good in all objectives and better in one."""
    signs = [1 if direction == "maximize" else -1 for direction in directions]
    points = np.asarray(values, dtype=float) * signs  # (N, objectives), higher is better
    return [
        place
        for place, point in enumerate(points)
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]


def item_standard_error(items: Sequence[pd.DataFrame], metric: str, seed: int = 0) -> float:
    """Standard error of a score for another draw of the same kind of items: the items' bootstrap, by clusters.

    ``items`` holds one frame a training seed, its rows the scored items of one epoch: ``group_id``, ``gold``,
    ``predicted``, ``logits``. Whole groups are drawn, since items of one sentence stand together (Efron and Tibshirani,
    An Introduction to the Bootstrap, 1993), the same for all seeds, and the seeds' mean score is taken. In [0, 1].
    Raises UserError where there are no items.
    """
    if not items or not all(len(frame) for frame in items):
        raise UserError("no validation predictions are stored, which a choice needs; they can't be made up")
    num_labels = len(items[0]["logits"].iloc[0])
    groups = pd.Index(items[0]["group_id"].unique())
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=RESAMPLES)  # (B, G)
    total = np.zeros(RESAMPLES)
    for frame in items:
        counts = np.zeros((len(groups), num_labels, num_labels))
        at = groups.get_indexer(frame["group_id"])
        np.add.at(counts, (at, frame["gold"].to_numpy(), frame["predicted"].to_numpy()), 1)
        confusion = np.tensordot(draws, counts, axes=1)  # (B, C, C)
        total += _score(confusion, metric)
    return float(np.std(total / len(items), ddof=1))


def _score(confusion: np.ndarray, metric: str) -> np.ndarray:
    """The score (B,) of each confusion matrix (B, C, C), gold by predicted; an absent label counts with F1 = 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    if metric == "accuracy":
        return hits.sum(axis=1) / confusion.sum(axis=(1, 2))
    sizes = confusion.sum(axis=1) + confusion.sum(axis=2)
    return np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0).mean(axis=1)
