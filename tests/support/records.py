"""Records of a trial that no engine made: every number in them is the same."""

from collections.abc import Mapping
from dataclasses import fields

from tunekit.schema import EpochRecord, Fingerprint, Status, TrialSummary
from tunekit.store.epoch_records import UNSCORED, TaskEpochRecord
from tunekit.tasks import Task

FINGERPRINT = Fingerprint(model="m", data="d", code="c")


def record(epoch: int) -> EpochRecord:
    values = dict.fromkeys((item.name for item in fields(EpochRecord)), 0.5)
    return EpochRecord(**{**values, "epoch": epoch, "step": 2 * epoch, "peak_memory_bytes": 7})


def record_of_task(epoch: int, task: Task, scores: Mapping[str, float]) -> TaskEpochRecord:
    """An epoch of another task than classification; scores of the task that are not in ``scores`` are None."""
    unscored = {name: getattr(record(epoch), name) for name in UNSCORED}
    return TaskEpochRecord(**unscored, scores=dict.fromkeys(task.score_names) | scores, constants={})


def summary(status: Status = Status.COMPLETED, error: str | None = None) -> TrialSummary:
    return TrialSummary(
        status=status, num_epochs=0, best_epoch=1, final_scores={"test_macro_f1": 0.5}, best_scores=None,
        train_scores=None, num_trainable_params=1, num_total_params=2, train_seconds=1.0, peak_memory_bytes=7,
        error=error, execution={}, provenance={},
    )  # fmt: skip
