"""How a trial ended, as a record: from what its folder holds, so that any process can write it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunekit.planning.provenance import provenance
from tunekit.schema import Direction, EpochRecord, Scalar, Status, TrialSummary
from tunekit.tasks import Task


@dataclass(frozen=True)
class Built:
    """Facts of a built trial that its records do not hold."""

    num_trainable_params: int
    num_total_params: int
    predicted_memory_bytes: int | None
    execution: dict[str, Scalar | None]


def best_epoch(records: Sequence[EpochRecord], task: Task) -> int | None:
    """Return the epoch with the best validation score by the task's primary metric, the earliest of equals.

    Return None where there is no validation part.
    """
    sign = -1 if task.metric(task.primary).direction is Direction.MIN else 1
    values = [(record.epoch, getattr(record, f"val_{task.primary}")) for record in records]
    scored = [(sign * value, -epoch) for epoch, value in values if value is not None]
    return -max(scored)[1] if scored else None


def summarise(
    records: Sequence[EpochRecord],
    status: Status,
    *,
    task: Task,
    built: Built | None,
    train_scores: dict[str, float] | None = None,
    error: str | None = None,
) -> TrialSummary:
    """The summary of ``records``; ``built`` is None for a trial that failed before its model stood."""
    best = best_epoch(records, task)

    def scores_after(epoch: int | None) -> dict[str, float | None]:
        return {name: getattr(records[epoch - 1], name) for name in task.score_names} if epoch else {}

    return TrialSummary(
        status=status,
        num_epochs=len(records),
        best_epoch=best,
        final_scores=scores_after(len(records) or None),
        best_scores=scores_after(best) or None,
        train_scores=train_scores,
        num_trainable_params=built.num_trainable_params if built else None,
        num_total_params=built.num_total_params if built else None,
        train_seconds=sum(record.epoch_seconds for record in records),
        predicted_memory_bytes=built.predicted_memory_bytes if built else None,
        peak_memory_bytes=max((record.peak_memory_bytes for record in records), default=None),
        error=error,
        execution=built.execution if built else {},
        provenance=provenance(),
    )
