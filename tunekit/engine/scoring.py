"""The results of an epoch that is trained: its scores, its record, and the rows of its steps and predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunekit.data.base import TextDataset
from tunekit.engine.build import labels_of
from tunekit.engine.recording import Recording, join_rows
from tunekit.engine.train import Diverged, TrainedEpoch
from tunekit.schema import EpochRecord
from tunekit.store.epoch_records import TaskEpochRecord
from tunekit.tasks import Constants, Task


@dataclass(frozen=True)
class ScoredEpoch:
    """An epoch that is trained and scored, and that is not recorded yet."""

    trained: TrainedEpoch
    """The losses, rates, tokens and time of its training."""
    logits: Mapping[str, Any]
    """The logits (N, C) of each scored split after the epoch, as ``Pack.predict`` returns them."""
    step: int
    """The optimizer steps that the trial had taken by the epoch's end."""
    seconds: float
    """The seconds that training and scoring took."""
    peak_memory: int
    """The trial's peak memory so far, in bytes."""

    @property
    def has_diverged(self) -> bool:
        """Whether a loss of training is NaN or infinite."""
        return not np.isfinite(self.trained.losses).all()


def recording_of(
    scored: ScoredEpoch, earlier: Sequence[EpochRecord], data: TextDataset, task: Task, constants: Constants
) -> tuple[Recording, Constants]:
    """Return the recording of an epoch that follows the ``earlier`` ones, and the constants of the task after it.

    Raises Diverged where a loss or a score is NaN or infinite.
    """
    epoch, trained = len(earlier) + 1, scored.trained
    if scored.has_diverged:
        bad = int(np.flatnonzero(~np.isfinite(trained.losses))[0])
        step = scored.step - len(trained.losses) + bad + 1
        raise Diverged(f"the training loss became {trained.losses[bad]} at step {step} (epoch {epoch})")
    outputs = {split: task.outputs(logits, constants) for split, logits in scored.logits.items()}
    validation = labels_of(data.splits["val"], task, data.label_names) if "val" in outputs else None
    constants = {**constants, **task.decided(validation, outputs.get("val"))}
    measured: dict[str, float | None] = dict.fromkeys(task.score_names)
    predictions = []
    for split, found in outputs.items():
        examples = data.splits[split]
        values = scores_of(examples, found, data.label_names, task, constants)
        measured |= {f"{split}_{name}": value for name, value in values.items()}
        predictions.append(prediction_rows(split, examples, epoch, found, task, constants, data.label_names))
    of_every_task = {
        "epoch": epoch,
        "step": scored.step,
        "train_loss": trained.train_loss,
        "learning_rate": trained.learning_rates[-1],
        "epoch_seconds": scored.seconds,
        "train_tokens_per_second": trained.num_tokens / trained.seconds,
        "peak_memory_bytes": scored.peak_memory,
    }
    record = scored_record(of_every_task, measured, earlier, task, constants)
    return Recording([record], step_rows(epoch, scored.step, trained), join_rows(*predictions)), constants


def scores_of(
    examples: pd.DataFrame, outputs: Any, label_names: Sequence[str], task: Task, constants: Constants
) -> dict[str, float]:
    """Return the task's scores of the outputs (N, C) for N examples. Raises Diverged where one is not finite."""
    values = task.scores(labels_of(examples, task, label_names), outputs, constants, label_names)
    for name, value in values.items():
        if not np.isfinite(value):
            raise Diverged(f"the {task.measure(name).label} of a scored split became {value}")
    return values


def step_rows(epoch: int, last_step: int, trained: TrainedEpoch) -> pd.DataFrame:
    """Return a row for each optimizer step of ``epoch``, which ended with step ``last_step`` of the trial."""
    return pd.DataFrame(
        {
            "epoch": epoch,
            "step": range(last_step - len(trained.losses) + 1, last_step + 1),
            "train_loss": trained.losses,
            "learning_rate": trained.learning_rates,
        }
    )


def prediction_rows(
    split: str,
    examples: pd.DataFrame,
    epoch: int,
    outputs: Any,
    task: Task,
    constants: Constants,
    label_names: Sequence[str],
) -> pd.DataFrame:
    """Return a row for each of N ``examples`` of a split, with what the ``outputs`` (N, C) after ``epoch`` predict.

    The column ``logits`` holds the outputs, which for classification are the logits themselves. Its lists are empty
    where the task keeps no outputs.
    """
    gold = labels_of(examples, task, label_names)
    kept = np.zeros((len(examples), 0), np.float16) if task.stored_as is None else outputs.astype(task.stored_as)
    return pd.DataFrame(
        {
            "split": split,
            "epoch": epoch,
            "item_id": examples["item_id"].to_numpy(),
            "group_id": examples["group"].to_numpy(),
            "gold": label_column(gold, task, label_names),
            "predicted": label_column(task.predicted(outputs, constants), task, label_names),
            "logits": list(kept),
        }
    )


def label_column(labels: Any, task: Task, label_names: Sequence[str]) -> npt.NDArray[Any] | list[str]:
    """Return N labels as a column: int32 of classes, float64 of numbers, texts such as ``0110`` of several labels.

    The tags of words are a text of their names, such as ``B-PER O``.
    """
    if task.form == "tags":
        return [" ".join(label_names[tag] for tag in tags) for tags in labels]
    if task.form == "labels":
        return ["".join(map(str, row)) for row in labels.tolist()]
    column: npt.NDArray[Any] = labels.astype(np.int32 if task.form == "class" else np.float64)
    return column


def scored_record(
    values: Mapping[str, Any],
    measured: Mapping[str, float | None],
    earlier: Sequence[EpochRecord],
    task: Task,
    constants: Constants,
) -> EpochRecord:
    """Return the record of an epoch with the ``values`` that the epochs of every task have.

    ``measured`` holds its scores by name, None where they were not measured, and ``earlier`` the records of the epochs
    before it. The best value so far is that of macro-F1 in records of schema version 1, which hold the scores of
    classification, and that of the task's primary metric in all others.
    """
    of_version_1 = {name for name in EpochRecord.__dataclass_fields__ if name.startswith(("val_", "test_"))}
    in_version_1 = set(task.score_names) == of_version_1
    primary = "macro_f1" if in_version_1 else task.primary
    now, best = measured[f"val_{primary}"], [record.score(f"best_val_{primary}") for record in earlier]
    known = [value for value in (now, *best) if value is not None]
    so_far = {f"best_val_{primary}": None if now is None else task.metric(primary).best(known)}
    if in_version_1:
        return EpochRecord(**{**values, **measured, **so_far})
    return TaskEpochRecord(**values, scores={**measured, **so_far}, constants=dict(constants))
