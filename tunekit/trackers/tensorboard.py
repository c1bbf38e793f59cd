"""TensorBoard's event files in ``<sweep>/tensorboard``: one run for each trial, complete over all starts of the sweep.

Ray Tune writes event files of its own too, but in a folder for each start, where a resumed trial is in several pieces.
"""

import json
import shutil
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from tunekit.storage.files import write_atomic
from tunekit.store.records import StoredTrial
from tunekit.tasks import task_of
from tunekit.trackers.tracker import metrics, parameters, results, run_key, run_name

STATE = "tunekit.json"
"""The file in a run's folder with the key, the number of epochs and the end of the trial that the run shows."""


class TensorBoardTracker:
    """Writes runs. A driver with new records first writes the run anew, and then appends to it."""

    def __init__(self, sweep: Path) -> None:
        self.root = sweep / "tensorboard"
        self._open: dict[str, tuple[SummaryWriter, int]] = {}
        """The writer of each unfinished run, and the number of epochs that it has written, by run_key."""

    def sync(self, trial: StoredTrial) -> None:
        """Send what is missing, see ``Tracker.sync``. Raises OSError where nothing can be written."""
        key = run_key(trial)
        folder = self.root / run_name(trial).replace("/", "-")
        state = {"key": key, "epochs": len(trial.epochs), "ended": trial.summary is not None}
        if key not in self._open:
            if _read_state(folder) == state:
                return
            if folder.exists():
                shutil.rmtree(folder)
            writer = SummaryWriter(str(folder))
            for summary in hparams(parameters(trial), dict.fromkeys(_shown(trial), 0.0)):
                writer.file_writer.add_summary(summary)
            self._open[key] = (writer, 0)
        writer, written = self._open[key]
        for record in trial.epochs[written:]:
            for name, value in metrics(record).items():
                writer.add_scalar(name, value, record.epoch)
        self._open[key] = (writer, max(written, len(trial.epochs)))
        writer.flush()
        if trial.summary:
            for name, value in results(trial).items():
                writer.add_scalar(name, value, len(trial.epochs))
            writer.close()
            del self._open[key]
        write_atomic(folder / STATE, json.dumps(state).encode())

    def close(self) -> None:
        """Close the files of unfinished runs."""
        for writer, _ in self._open.values():
            writer.close()


def _read_state(folder: Path) -> object:
    """Return the state in which the run in ``folder`` was written; None where it is not known."""
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _shown(trial: StoredTrial) -> list[str]:
    """Return the names of the scalars that TensorBoard's table of hyperparameters shows."""
    part = "test" if trial.spec.score_test else "val"
    task = task_of(trial.spec.dataset)
    return [f"{part}_{name}" for name in dict.fromkeys([task.primary, *task.reported])]
