"""What a trial records of its epochs beside checkpoints: one row an epoch, an optimizer step and a scored example.

A run reads what an earlier run of the trial has left, goes on from a checkpoint, and writes whole files anew after each
epoch. Until it has passed the epochs that the earlier run recorded after the checkpoint, these stay in the files behind
its own: nothing recorded is ever lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunekit.engine.build import labels_of
from tunekit.engine.train import TrainedEpoch
from tunekit.schema import EpochRecord
from tunekit.storage.paths import Place
from tunekit.store.epoch_records import TaskEpochRecord
from tunekit.store.records import STEPS, read_predictions
from tunekit.store.result_store import ResultStore
from tunekit.tasks import Constants, Task


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({"epoch": pd.Series(dtype="int64")})


@dataclass(frozen=True)
class ScoredEpoch:
    """An epoch that is trained and scored, and that is not recorded yet."""

    trained: TrainedEpoch
    """What its training measured."""
    logits: Mapping[str, npt.NDArray[np.float32]]
    """The logits (N, C) of each scored split after it."""
    step: int
    """The optimizer steps that the trial had taken after it."""
    seconds: float
    """How long training and scoring took."""
    peak_memory: int
    """The peak of memory so far, in bytes."""

    @property
    def has_diverged(self) -> bool:
        """Whether a loss of training is NaN or infinite."""
        return not np.isfinite(self.trained.losses).all()


@dataclass(frozen=True)
class Recording:
    """Some epochs of a trial, in order."""

    epochs: list[EpochRecord] = field(default_factory=list)
    steps: pd.DataFrame = field(default_factory=_no_rows)
    """One row an optimizer step, as ``step_rows`` makes them."""
    predictions: pd.DataFrame = field(default_factory=_no_rows)
    """One row a scored example, as ``prediction_rows`` makes them."""

    def until(self, epoch: int) -> Recording:
        """Return what was recorded up to ``epoch``, with it."""
        steps, predictions = (rows[rows["epoch"] <= epoch] for rows in (self.steps, self.predictions))
        return Recording(self.epochs[:epoch], steps, predictions)

    def after(self, epoch: int) -> Recording:
        """Return what was recorded after ``epoch``."""
        steps, predictions = (rows[rows["epoch"] > epoch] for rows in (self.steps, self.predictions))
        return Recording(self.epochs[epoch:], steps, predictions)

    def then(self, later: Recording) -> Recording:
        """Return this recording followed by a ``later`` one."""
        steps, predictions = join_rows(self.steps, later.steps), join_rows(self.predictions, later.predictions)
        return Recording([*self.epochs, *later.epochs], steps, predictions)

    def with_predictions_of(self, epochs: Collection[int | None]) -> Recording:
        """Return the recording with the predictions of ``epochs`` alone."""
        return Recording(self.epochs, self.steps, self.predictions[self.predictions["epoch"].isin(set(epochs))])


def read_recording(store: ResultStore, folder: Place) -> Recording:
    """Return what an earlier run left in the trial's ``folder``; a file that can't be read counts as empty."""
    steps = predictions = _no_rows()
    try:
        steps = pd.read_csv(BytesIO((folder / STEPS).read_bytes())).astype({"epoch": int})
        predictions = read_predictions(folder).astype({"epoch": int})
    except (OSError, ValueError, KeyError):
        pass  # what is missing is trained again
    return Recording(store.read(folder).epochs, steps, predictions)


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
    split: str, examples: pd.DataFrame, epoch: int, outputs: npt.NDArray[Any], task: Task, constants: Constants
) -> pd.DataFrame:
    """Return a row for each of N ``examples`` of a split, with what the ``outputs`` (N, C) after ``epoch`` predict.

    The column ``logits`` has the outputs, which for classification are the logits themselves.
    """
    gold = labels_of(examples, task)
    return pd.DataFrame(
        {
            "split": split,
            "epoch": epoch,
            "item_id": examples["item_id"].to_numpy(),
            "group_id": examples["group"].to_numpy(),
            "gold": _column(gold, task),
            "predicted": _column(task.predicted(outputs, constants), task),
            "logits": list(outputs.astype(task.stored_as)),
        }
    )


def _column(labels: npt.NDArray[Any], task: Task) -> npt.NDArray[Any] | list[str]:
    """Return N labels as a column: int32 of classes, float64 of numbers, texts such as ``0110`` of several labels."""
    if task.form == "labels":
        return ["".join(map(str, row)) for row in labels.tolist()]
    return labels.astype(np.int32 if task.form == "class" else np.float64)


def scored_record(
    values: Mapping[str, Any],
    measured: Mapping[str, float | None],
    earlier: Sequence[EpochRecord],
    task: Task,
    constants: Constants,
) -> EpochRecord:
    """Return the record of an epoch with the ``values`` that the epochs of every task have.

    ``measured`` has its scores by name, None where they were not measured, and ``earlier`` are the epochs before it.
    The best value so far is that of macro-F1 in records of schema version 1, which hold the scores of classification,
    and of the task's primary metric in all others.
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


def join_rows(*frames: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all frames; empty ones, which have no types, are left out."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else _no_rows()
