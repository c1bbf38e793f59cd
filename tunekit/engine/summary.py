"""The summary of an ended trial, made from its records alone, so that any process can write it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunekit.planning.provenance import provenance
from tunekit.schema import Direction, EpochRecord, Scalar, Status, TrialSpec, TrialSummary
from tunekit.tasks import Task, task_of


@dataclass(frozen=True)
class BuildFacts:
    """The facts on a trial that are known once its model is built."""

    num_trainable_params: int
    num_total_params: int
    predicted_memory_bytes: int | None
    """Its peak memory by the closed form, counted as ``peak_bytes`` measures it; None without a closed form."""
    execution: dict[str, Scalar | None]
    """How it was computed, as ``TrialSummary.execution`` holds it."""


def best_epoch(records: Sequence[EpochRecord], task: Task) -> int | None:
    """Return the epoch (from 1) with the best validation score by the task's primary metric, the earliest of equals.

    Returns None where there is no validation part.
    """
    sign = -1 if task.metric(task.primary).direction is Direction.MIN else 1
    values = [(record.epoch, record.score(f"val_{task.primary}")) for record in records]
    scored = [(sign * value, -epoch) for epoch, value in values if value is not None]
    return -max(scored)[1] if scored else None


def is_complete(records: Sequence[EpochRecord], spec: TrialSpec) -> bool:
    """Return whether ``records`` leave no epoch of ``spec`` to train: all are there, or patience has ended it."""
    if len(records) >= spec.epochs:
        return True
    best = best_epoch(records, task_of(spec.dataset))
    return spec.patience is not None and best is not None and len(records) - best >= spec.patience


def summarise(
    records: Sequence[EpochRecord],
    status: Status,
    *,
    task: Task,
    facts: BuildFacts | None,
    train_scores: dict[str, float] | None = None,
    error: str | None = None,
) -> TrialSummary:
    """Return the summary of a trial that ended as ``status`` with ``records``.

    ``facts`` are None where the trial's model was never built, or was built by another process.
    """
    best = best_epoch(records, task)

    def scores_after(epoch: int | None) -> dict[str, float | None]:
        return {name: records[epoch - 1].score(name) for name in task.score_names} if epoch else {}

    return TrialSummary(
        status=status,
        num_epochs=len(records),
        best_epoch=best,
        final_scores=scores_after(len(records) or None),
        best_scores=scores_after(best) or None,
        train_scores=train_scores,
        num_trainable_params=facts.num_trainable_params if facts else None,
        num_total_params=facts.num_total_params if facts else None,
        train_seconds=sum(record.epoch_seconds or 0.0 for record in records),
        predicted_memory_bytes=facts.predicted_memory_bytes if facts else None,
        peak_memory_bytes=max((record.peak_memory_bytes or 0 for record in records), default=None),
        error=error,
        execution=facts.execution if facts else {},
        provenance=provenance(),
    )
