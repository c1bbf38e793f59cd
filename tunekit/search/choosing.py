"""Which configuration a search chooses, and how sure its dev set is: pure arithmetic over what a study recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunekit.errors import UserError
from tunekit.store.records import read_predictions, running_best
from tunekit.store.search_records import SearchStudy, SearchTrial, TrialState

if TYPE_CHECKING:
    from tunekit.store.records import StoredTrial
    from tunekit.store.result_store import ResultStore


FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2_000


@dataclass(frozen=True)
class Candidate:
    """A completed configuration."""

    number: int
    score: float
    """On validation, in [0, 1], higher is better."""
    num_trainable_params: int


@dataclass(frozen=True)
class Selection:
    """What a study's scores allow to choose."""

    best: int
    """Number of the configuration with the best score; the earliest of equals."""
    one_se: int
    """Of those within one standard error of it, the one with the fewest trainable parameters; then the best of them."""
    within: tuple[int, ...]
    """Numbers of all within one standard error of the best, the best first."""


def select(candidates: Sequence[Candidate], standard_error: float) -> Selection:
    """The best configuration and the cheapest one that its dev set can't tell from it.

    The one-standard-error rule of Breiman et al., Classification and Regression Trees (1984), with trainable parameters
    as the cost. ``standard_error`` is that of the best's score. Raises ValueError where there are no candidates.
    """
    if not candidates:
        raise ValueError("no configuration completed")
    ranked = sorted(candidates, key=lambda one: (-one.score, one.number))
    within = [one for one in ranked if one.score >= ranked[0].score - standard_error]
    cheapest = min(within, key=lambda one: (one.num_trainable_params, -one.score, one.number))
    return Selection(ranked[0].number, cheapest.number, tuple(one.number for one in within))


def pareto(values: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Positions of the points that no other one beats: none is as good in all objectives and better in one."""
    signs = [1 if direction == "maximize" else -1 for direction in directions]
    points = np.asarray(values, dtype=float) * signs  # (N, objectives), higher is better
    return [
        place
        for place, point in enumerate(points)
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]


def item_standard_error(items: Sequence[pd.DataFrame], metric: str, num_labels: int, seed: int = 0) -> float:
    """Standard error of a score for another draw of the same kind of items: the items' bootstrap, by clusters.

    ``items`` holds one frame a training seed, its rows the scored items of one epoch: ``group_id``, ``gold``,
    ``predicted``. Whole groups are drawn, since items of one sentence stand together (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993), the same for all seeds, and the seeds' mean score is taken; the seeds stay as
    they are. ``metric`` is accuracy or macro_f1. In [0, 1]. Raises ValueError where there are no items, for another
    metric, and where a label lies outside 0..C-1.
    """
    if not items or not all(len(frame) for frame in items):
        raise ValueError("no validation predictions are stored, which a choice needs; they can't be made up")
    if metric not in SCORES:
        raise ValueError(f"the standard error over items is known for {' and '.join(SCORES)}, not for {metric}")
    groups = pd.Index(items[0]["group_id"].unique())
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=RESAMPLES)  # (B, G)
    total = np.zeros(RESAMPLES)
    for frame in items:
        counts = np.zeros((len(groups), num_labels, num_labels))
        labels = [frame[name].to_numpy() for name in ("gold", "predicted")]
        if min(map(np.min, labels)) < 0 or max(map(np.max, labels)) >= num_labels:
            raise ValueError(f"a label lies outside 0 to {num_labels - 1}")
        np.add.at(counts, (groups.get_indexer(frame["group_id"]), *labels), 1)
        total += SCORES[metric](np.tensordot(draws, counts, axes=1))
    return float(np.std(total / len(items), ddof=1))


def _accuracy(confusion: FloatArray) -> FloatArray:
    """Accuracy (B,) of each confusion matrix (B, C, C), gold by predicted."""
    return np.asarray(np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2)))


def _macro_f1(confusion: FloatArray) -> FloatArray:
    """Macro-F1 (B,) of each confusion matrix (B, C, C); an absent label counts with F1 = 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    sizes = confusion.sum(axis=1) + confusion.sum(axis=2)
    return np.asarray(np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0).mean(axis=1))


SCORES = {"accuracy": _accuracy, "macro_f1": _macro_f1}


def select_configuration(store: "ResultStore", study: SearchStudy) -> Selection | None:
    """The choice of ``study``; None where no configuration completed. Raises UserError, DamagedRecord."""
    done = {trial.number: trial for trial in study.trials if trial.state is TrialState.COMPLETE and trial.values}
    if not done:
        return None
    metric = study.objectives[0]
    candidates = [
        Candidate(number, trial.values[0], _stored(store, trial)[0].summary.num_trainable_params)
        for number, trial in done.items()
    ]
    best = max(candidates, key=lambda one: (one.score, -one.number))
    items = [_best_items(trial, metric) for trial in _stored(store, done[best.number])]
    try:
        error = item_standard_error(items, metric, num_labels=len(items[0]["logits"].iloc[0]) if len(items[0]) else 0)
    except ValueError as problem:
        raise UserError(f"{store.root}: {problem}") from problem
    return select(candidates, error)


def _stored(store: "ResultStore", trial: SearchTrial) -> "list[StoredTrial]":
    folders = [store.find_folder(trial_id) for trial_id in trial.trial_ids]
    if None in folders:
        raise UserError(
            f"{store.trials_folder} lacks trials that search.json names ({', '.join(trial.trial_ids)}); restore them"
        )
    return [store.read(folder) for folder in folders]


def _best_items(trial: "StoredTrial", metric: str) -> pd.DataFrame:
    """The validation predictions of the epoch with the best ``metric``, the earliest of equals."""
    best = int(np.argmax(running_best(trial.epochs, metric))) + 1
    rows = read_predictions(trial.folder)
    return rows[(rows["split"] == "val") & (rows["epoch"] == best)]
