"""What a trial records of its epochs beside checkpoints: one row for each epoch, optimizer step and scored example.

A run reads what an earlier run of the trial has left, goes on from a checkpoint, and rewrites the files after each
epoch. Epochs that the earlier run recorded after the checkpoint stay in the files, after those of this run, until this
run has trained them too. So no recorded epoch is lost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO

import pandas as pd

from tunekit.schema import EpochRecord
from tunekit.storage.paths import Place
from tunekit.store.records import read_predictions
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import STEPS_FILE


def _no_rows() -> pd.DataFrame:
    return pd.DataFrame({"epoch": pd.Series(dtype="int64")})


@dataclass(frozen=True)
class Recording:
    """Some epochs of a trial, in order."""

    epochs: list[EpochRecord] = field(default_factory=list)
    steps: pd.DataFrame = field(default_factory=_no_rows)
    """One row an optimizer step, as ``scoring.step_rows`` makes them."""
    predictions: pd.DataFrame = field(default_factory=_no_rows)
    """One row a scored example, as ``scoring.prediction_rows`` makes them."""

    def until(self, epoch: int) -> Recording:
        """Return what was recorded up to and including ``epoch``."""
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
        steps = pd.read_csv(BytesIO((folder / STEPS_FILE).read_bytes())).astype({"epoch": int})
        predictions = read_predictions(folder).astype({"epoch": int})
    except (OSError, ValueError, KeyError):
        pass  # what is missing is trained again
    return Recording(store.read(folder).epochs, steps, predictions)


def join_rows(*frames: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all frames; empty ones, which have no types, are left out."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else _no_rows()
