"""The selection of configurations after a search, and the standard error of a score on the validation part.

This is arithmetic over what a study has recorded, without Optuna, so the analysis can use it too. A *candidate* is a
configuration that completed. The *selection* is the best candidate and the cheapest one within one standard error of
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunekit.errors import UserError
from tunekit.store.records import read_predictions, running_best
from tunekit.store.search_records import SearchStudy, SearchTrial, TrialState
from tunekit.tasks.base import ITEM_SCORES, Metric, task_of
from tunekit.tasks.bio import types_of
from tunekit.tasks.entity_scores import tallies
from tunekit.tasks.number_scores import NUMBER_SCORES

if TYPE_CHECKING:
    from tunekit.store.records import StoredTrial
    from tunekit.store.result_store import ResultStore


FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2_000
"""The number of bootstrap samples of a standard error."""


@dataclass(frozen=True)
class Candidate:
    """A configuration that completed, which can be selected."""

    number: int
    """The number of its trial in the study."""
    score: float
    """Its score on validation, times -1 where less is better, so that more is better."""
    num_trainable_params: int
    """Its cost: the number of parameters that were trained."""


@dataclass(frozen=True)
class Selection:
    """The candidates that ``select`` has selected, by the numbers of their trials."""

    best: int
    """The candidate with the best score; the earliest one of equal scores."""
    one_se: int
    """The candidate with the fewest trainable parameters in ``within``; of equal costs the one with the best score."""
    within: tuple[int, ...]
    """All candidates within one standard error of the best one, the best first."""


def select(candidates: Sequence[Candidate], standard_error: float) -> Selection:
    """Return the best candidate, and the cheapest one that the validation part can't tell from the best.

    This is the rule of one standard error of Breiman et al., Classification and Regression Trees (1984), with the
    number of trainable parameters as the cost. ``standard_error`` is the standard error of the best candidate's score.
    Raises ValueError where there are no candidates.
    """
    if not candidates:
        raise ValueError("no configuration completed")
    ranked = sorted(candidates, key=lambda candidate: (-candidate.score, candidate.number))
    within = [candidate for candidate in ranked if candidate.score >= ranked[0].score - standard_error]
    cheapest = min(within, key=lambda candidate: (candidate.num_trainable_params, -candidate.score, candidate.number))
    return Selection(ranked[0].number, cheapest.number, tuple(candidate.number for candidate in within))


def pareto(values: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Return the indices of the points on the Pareto front.

    ``values`` are N points with one value for each objective, and ``directions`` has ``maximize`` or ``minimize`` for
    each objective. A point is on the front where no other point is as good in all objectives and better in one.
    """
    signs = [1 if direction == "maximize" else -1 for direction in directions]
    points = np.asarray(values, dtype=float) * signs  # (N, objectives), higher is better
    return [
        index
        for index, point in enumerate(points)
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]


def item_standard_error(items: Sequence[pd.DataFrame], metric: str, num_labels: int, seed: int = 0) -> float:
    """Return the standard error of a score over samples of items, in the unit of stored scores.

    ``items`` has one frame for each training seed. Its rows are the scored items of one epoch, with the columns
    ``group_id``, ``gold`` and ``predicted``. ``metric`` is accuracy, macro_f1 or mcc for classes; a score of numbers
    (``tunekit.tasks.number_scores``); micro_f1 or macro_f1 for several labels, which are texts such as ``0110``; or a
    score of entities for tags, which are texts such as ``B-PER O``.

    The error is estimated by a cluster bootstrap over the items (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993): groups are drawn as a whole, since the items of one sentence are not independent. All seeds are
    given the same groups, and the mean of their scores is taken. Raises ValueError where there are no items, for
    another metric, and where a label lies outside 0 to ``num_labels`` - 1.
    """
    if not items or not all(len(frame) for frame in items):
        raise ValueError("no validation predictions are stored, without which no configuration can be selected")
    is_text = isinstance(items[0]["gold"].iloc[0], str)
    of_words = is_text and not set(items[0]["gold"].iloc[0]) <= {"0", "1"}
    known = ITEM_SCORES["tags" if of_words else "labels"] if is_text else (*SCORES, *NUMBER_SCORES)
    if metric not in known:
        raise ValueError(f"the standard error over items is known for {', '.join(known)}, not for {metric}")
    groups = pd.Index(items[0]["group_id"].unique())
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=RESAMPLES)  # (B, G)
    scores = np.zeros(RESAMPLES)
    for frame in items:
        cluster = groups.get_indexer(frame["group_id"])
        if metric in NUMBER_SCORES:
            gold, predicted = (frame[name].to_numpy(np.float64) for name in ("gold", "predicted"))
            scores += NUMBER_SCORES[metric](draws.astype(np.float64), gold, predicted[None], cluster)[:, 0]
        elif of_words:
            scores += _of_entities(draws @ _in_clusters(_entities(frame), cluster, len(groups)), metric)
        elif is_text:
            bits, found = (_bits(frame[name]) for name in ("gold", "predicted"))  # (N, C)
            tallied = np.stack([bits * found, bits, found], axis=1)  # hits, gold, predicted
            tallied = _in_clusters(tallied, cluster, len(groups))
            scores += _f1_of_labels(np.tensordot(draws, tallied, axes=1), metric)
        else:
            counts = _confusions(frame, cluster, len(groups), num_labels)
            scores += SCORES[metric](np.tensordot(draws, counts, axes=1))  # of (B, C, C)
    return float(np.std(scores / len(items), ddof=1))


def _in_clusters(counts: FloatArray, cluster: npt.NDArray[np.intp], num_clusters: int) -> FloatArray:
    """Return the sums (G, ...) of the counts (N, ...) of the items of each cluster; ``cluster`` is (N,)."""
    sums = np.zeros((num_clusters, *counts.shape[1:]))
    np.add.at(sums, cluster, counts)
    return sums


def _confusions(items: pd.DataFrame, cluster: npt.NDArray[np.intp], num_clusters: int, num_labels: int) -> FloatArray:
    """Return the counts (G, C, C) of items of each cluster, gold by predicted.

    Raises ValueError for a label outside 0 to ``num_labels`` - 1.
    """
    counts = np.zeros((num_clusters, num_labels, num_labels))
    labels = [items[name].to_numpy() for name in ("gold", "predicted")]
    if min(map(np.min, labels)) < 0 or max(map(np.max, labels)) >= num_labels:
        raise ValueError(f"a label lies outside 0 to {num_labels - 1}")
    np.add.at(counts, (cluster, *labels), 1)
    return counts


def _entities(items: pd.DataFrame) -> FloatArray:
    """Return, for each of N texts, the numbers (N, 3) of its found, gold and predicted entities."""
    gold, predicted = ([tags.split(" ") for tags in items[name]] for name in ("gold", "predicted"))
    types = types_of(tag for texts in (gold, predicted) for tags in texts for tag in tags)
    return np.asarray(tallies(gold, predicted, types).sum(axis=2), np.float64)


def _of_entities(counts: FloatArray, metric: str) -> FloatArray:
    """Return precision, recall or F1 (B,) of found, gold and predicted entities (B, 3)."""
    found, gold, predicted = counts.T
    sizes = {"precision": predicted, "recall": gold, "entity_f1": (gold + predicted) / 2}[metric]
    return np.asarray(np.divide(found, sizes, out=np.zeros_like(found), where=sizes > 0))


def _bits(texts: pd.Series) -> FloatArray:
    """Return N texts such as ``0110`` as 0 and 1, (N, C)."""
    return np.array([list(text) for text in texts]).astype(np.float64)


def _f1_of_labels(tallies: FloatArray, metric: str) -> FloatArray:
    """Return micro- or macro-F1 (B,) of the hits, gold and predicted items (B, 3, C) of several labels."""
    counts = tallies.sum(axis=2, keepdims=True) if metric == "micro_f1" else tallies
    sizes = counts[:, 1] + counts[:, 2]
    found = np.divide(2 * counts[:, 0], sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return np.asarray(found.mean(axis=1))


def _accuracy(confusion: FloatArray) -> FloatArray:
    """Return the accuracy (B,) of each confusion matrix (B, C, C), gold by predicted."""
    return np.asarray(np.trace(confusion, axis1=1, axis2=2) / confusion.sum(axis=(1, 2)))


def _macro_f1(confusion: FloatArray) -> FloatArray:
    """Return the macro-F1 (B,) of each confusion matrix (B, C, C); a label without any item counts with F1 = 0."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    sizes = confusion.sum(axis=1) + confusion.sum(axis=2)
    return np.asarray(np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0).mean(axis=1))


def _mcc(confusion: FloatArray) -> FloatArray:
    """Return Gorodkin's (2004) correlation (B,) of each confusion matrix (B, C, C); 0 where one side has one class."""
    gold, predicted = confusion.sum(axis=2), confusion.sum(axis=1)  # (B, C)
    total = gold.sum(axis=1)
    covariance = np.trace(confusion, axis1=1, axis2=2) * total - (gold * predicted).sum(axis=1)
    spread = np.sqrt((total**2 - (gold**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1)))
    return np.asarray(np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0))


SCORES = {"accuracy": _accuracy, "macro_f1": _macro_f1, "mcc": _mcc}


def select_configuration(store: "ResultStore", study: SearchStudy) -> Selection | None:
    """Return the selection from all completed configurations of ``study``, None where there are none.

    Raises UserError where the store lacks trials or predictions that are needed, and DamagedRecord.
    """
    completed = {trial.number: trial for trial in study.trials if trial.state is TrialState.COMPLETE and trial.values}
    if not completed:
        return None
    metric = task_of(study.dataset).metric(study.objectives[0])
    candidates = [_candidate(store, trial, metric) for trial in completed.values()]
    best = max(candidates, key=lambda candidate: (candidate.score, -candidate.number))
    items = [_best_items(trial, metric) for trial in stored_trials(store, completed[best.number])]
    try:
        error = item_standard_error(items, metric.name, len(items[0]["logits"].iloc[0]) if len(items[0]) else 0)
    except ValueError as problem:
        raise UserError(f"{store.root}: {problem}") from problem
    return select(candidates, error)


def stored_trials(store: "ResultStore", trial: SearchTrial) -> "list[StoredTrial]":
    """Return the records of each search seed of a study's trial. Raises UserError where one is missing."""
    folders = [folder for trial_id in trial.trial_ids if (folder := store.find_folder(trial_id)) is not None]
    if len(folders) < len(trial.trial_ids):
        raise UserError(
            f"{store.trials_folder} lacks trials that search.json names ({', '.join(trial.trial_ids)}); restore them"
        )
    return [store.read(folder) for folder in folders]


def _candidate(store: "ResultStore", trial: SearchTrial, metric: Metric) -> Candidate:
    """Return a completed trial of a study as a candidate. Raises UserError where the store lacks its summary."""
    summary = stored_trials(store, trial)[0].summary
    if not trial.values or summary is None or summary.num_trainable_params is None:
        raise UserError(
            f"{store.trials_folder} lacks the summary of a completed trial ({trial.trial_ids[0]}); restore it"
        )
    return Candidate(trial.number, metric.sign * trial.values[0], summary.num_trainable_params)


def _best_items(trial: "StoredTrial", metric: Metric) -> pd.DataFrame:
    """Return the validation predictions of the epoch with the best ``metric``; the earliest one of equal scores."""
    scores = running_best(trial.epochs, metric)
    best = scores.index(scores[-1]) + 1
    rows = read_predictions(trial.folder)
    return rows[(rows["split"] == "val") & (rows["epoch"] == best)]
