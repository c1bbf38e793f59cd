"""TensorBoard's event files under ``<sweep>/tensorboard``, one run a trial, whole over all starts of the sweep.

Ray Tune writes event files of its own in each start's folder; a trial that was resumed lies there in pieces.
"""

import json
import shutil
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from tunekit.storage.files import write_atomic
from tunekit.store.records import StoredTrial
from tunekit.trackers.tracker import metrics, parameters, results, run_key, run_name

MARK = "tunekit.json"
"""In a run's folder: what it was written from."""


class TensorBoardTracker:
    """A run's files are written anew by the first sync of a driver that finds more on record, and then go on."""

    def __init__(self, sweep: Path) -> None:
        self.root = sweep / "tensorboard"
        self._open: dict[str, tuple[SummaryWriter, int]] = {}
        """By run_key: the writer and the epochs it has."""

    def sync(self, trial: StoredTrial) -> None:
        """As ``Tracker.sync``. Raises OSError where nothing can be written."""
        key = run_key(trial)
        folder = self.root / run_name(trial).replace("/", "-")
        state = {"key": key, "epochs": len(trial.epochs), "ended": trial.summary is not None}
        if key not in self._open:
            if _mark_of(folder) == state:
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
        write_atomic(folder / MARK, json.dumps(state).encode())

    def close(self) -> None:
        """As ``Tracker.close``."""
        for writer, _ in self._open.values():
            writer.close()


def _mark_of(folder: Path) -> object:
    """What the run in ``folder`` was written from; None where that is not known."""
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _shown(trial: StoredTrial) -> list[str]:
    """Scalars that stand beside the parameters in TensorBoard's table."""
    part = "test" if trial.spec.score_test else "val"
    return [f"{part}_macro_f1", f"{part}_accuracy"]
