"""How a trial ended, as a record: from what its folder holds, so that any process can write it."""

from dataclasses import dataclass

from tunekit.planning.provenance import provenance
from tunekit.schema import EpochRecord, Scalar, Status, TrialSummary

SCORED = tuple(f"{split}_{name}" for split in ("val", "test") for name in ("loss", "accuracy", "micro_f1", "macro_f1"))


@dataclass(frozen=True)
class Built:
    """Facts of a built trial that its records do not hold."""

    num_trainable_params: int
    num_total_params: int
    predicted_memory_bytes: int | None
    execution: dict[str, Scalar | None]


def best_epoch(records: list[EpochRecord]) -> int | None:
    """Epoch of the best validation macro-F1, the earliest of equals; None where there is no validation part."""
    scored = [(record.val_macro_f1, -record.epoch) for record in records if record.val_macro_f1 is not None]
    return -max(scored)[1] if scored else None


def summarise(
    records: list[EpochRecord],
    status: Status,
    *,
    built: Built | None,
    train_scores: dict[str, float] | None = None,
    error: str | None = None,
) -> TrialSummary:
    """The summary of ``records``; ``built`` is None for a trial that failed before its model stood."""
    best = best_epoch(records)

    def of(epoch: int | None) -> dict[str, float | None]:
        return {name: getattr(records[epoch - 1], name) for name in SCORED} if epoch else {}

    return TrialSummary(
        status=status,
        num_epochs=len(records),
        best_epoch=best,
        final_scores=of(len(records) or None),
        best_scores=of(best) or None,
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
