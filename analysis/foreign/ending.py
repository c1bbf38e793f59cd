"""The end of a foreign trial, and its summary."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from analysis.foreign.mapping import COSTS, Meaning, value_of
from analysis.foreign.scores import Curve, fields_of, main_metric
from analysis.foreign.trial import Ended, Experiment, ForeignTrial
from analysis.foreign.values import finite
from tunekit.schema import Status, TrialSummary
from tunekit.store.records import ImportedEpoch, ImportedSpec

_STATUS = {
    Ended.COMPLETED: Status.COMPLETED,
    Ended.STOPPED: Status.STOPPED,
    Ended.FAILED: Status.FAILED,
    Ended.DIVERGED: Status.DIVERGED,
    Ended.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
}


@dataclass(frozen=True)
class Ending:
    """The way in which a trial ended."""

    status: Status | None
    """None where the trial still runs or was interrupted."""
    reason: str
    """The reason for this status."""


@dataclass(frozen=True)
class Kept:
    """A trial that counts, with all that is stored of it."""

    trial: ForeignTrial
    spec: ImportedSpec
    curve: Curve
    ending: Ending
    summary: TrialSummary | None


def longest_rows(experiment: Experiment) -> int:
    """Return the most rows that a trial of the experiment reported."""
    return max((len(trial.rows) for trial in experiment.trials), default=0)


def ending_of(trial: ForeignTrial, curve: Curve, longest: int) -> Ending | None:
    """Return how a trial ended; None for one that completed and reported no score.

    Each trial's own last row counts: it need not be as long as another. Where a source says nothing of the end, a trial
    counts as completed if it is as long as the longest.
    """
    ended, reason = trial.ended, trial.reason
    if ended is Ended.UNKNOWN:
        ended, reason = _guess(trial, longest)
    if ended is Ended.RUNNING:
        return Ending(None, reason)
    if ended is Ended.COMPLETED and curve.broken:
        return Ending(Status.DIVERGED, f"the last value of {' and '.join(curve.broken)} is no finite number")
    if ended is Ended.COMPLETED and not curve.has_score:
        return None
    return Ending(_STATUS[ended], reason)


def _guess(trial: ForeignTrial, longest: int) -> tuple[Ended, str]:
    if trial.rows and len(trial.rows) == longest:
        return Ended.COMPLETED, f"{trial.reason}, and its {longest} rows are as many as the longest trial's"
    if trial.error is not None:
        return Ended.FAILED, trial.reason
    if trial.rows:
        return Ended.STOPPED, f"{trial.reason}, and it has fewer than the {longest} rows of the longest trial"
    return Ended.RUNNING, f"{trial.reason}, and no row"


def summary_of(
    trial: ForeignTrial, curve: Curve, ending: Ending, meaning: Meaning, experiment: Experiment
) -> TrialSummary | None:
    """Return the summary of a trial; None where it still runs or was interrupted."""
    if ending.status is None:
        return None
    field = fields_of(meaning).get(f"val_{main_metric(meaning)}", "")
    scored = [(value, -one.epoch) for one in curve.epochs if (value := _score(one, field)) is not None]
    best = -max(scored)[1] if scored else None
    costs = {name: _cost(trial, meaning, name) for name in COSTS}
    seconds = [one.epoch_seconds for one in curve.epochs if one.epoch_seconds is not None]
    if costs["train_seconds"] is None and seconds and len(seconds) == len(curve.epochs):
        costs["train_seconds"] = sum(seconds)
    whole = {name: None if value is None else int(value) for name, value in costs.items() if name != "train_seconds"}
    error = None
    if ending.status is not Status.COMPLETED:
        error = trial.error or ending.reason
    return TrialSummary(
        status=ending.status,
        num_epochs=len(curve.epochs),
        best_epoch=best,
        final_scores=_scores(curve.epochs[-1:]),
        best_scores=_scores(curve.epochs[best - 1 : best]) if best else None,
        train_scores=None,
        train_seconds=costs["train_seconds"],
        error=error,
        execution={},
        provenance={"imported_from": experiment.name, "trial": trial.name},
        **whole,
    )


def _score(epoch: ImportedEpoch, field: str) -> float | None:
    found: float | None = getattr(epoch, field) if field and hasattr(epoch, field) else epoch.scores.get(field)
    return found


def _scores(epochs: Sequence[ImportedEpoch]) -> dict[str, float | None]:
    """Return the scores of ``epochs``, which hold one epoch or none."""
    values = [{**asdict(one), **one.scores} for one in epochs]
    return {name: value for one in values for name, value in one.items() if name.startswith(("val_", "test_"))}


def _cost(trial: ForeignTrial, meaning: Meaning, name: str) -> float | None:
    source = meaning.sources.get(name)
    value = None if source is None else finite(value_of(trial, source))
    return value if value is not None and value >= 0 and math.isfinite(value) else None
