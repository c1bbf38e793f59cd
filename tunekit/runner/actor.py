"""The actor in which trials run, one after another: its process is named after the trial, and its log names all."""

import fcntl
import os
import sys
from functools import cached_property
from itertools import count
from pathlib import Path

import ray
from ray import tune

from tunekit.parsing import plain
from tunekit.runner.metrics import Meter
from tunekit.schema import TrialSpec
from tunekit.store.ending import ending
from tunekit.tasks import task_of
from tunekit.worker.report import TrialReport


class SlotTrainable(tune.Trainable):
    """A Trainable that shows the progress of its trials, as lines in the worker's log and as metrics of Ray."""

    def __repr__(self) -> str:
        """Return the actor's name for the dashboard, which asks only once: a trial's name would outlive the trial."""
        return f"tunekit slot {self.slot}"

    @cached_property
    def slot(self) -> int:
        """The lowest number, from 1, that no other actor of this Ray has on this node; 0 outside of Ray."""
        node = ray._private.worker.global_worker.node
        if node is None:
            return 0
        self._lock, slot = claim_slot(Path(node.get_session_dir_path()) / "tunekit-slots")
        return slot

    @cached_property
    def _meter(self) -> Meter:
        return Meter(self.slot)

    @cached_property
    def _shown(self) -> dict[str, tuple[int, object]]:
        """The number of epochs and the status that were last shown, by trial id."""
        return {}

    def name_process(self, spec: TrialSpec) -> None:
        """Name this process after a trial, for Ray's dashboard, ps and nvidia-smi, until the present call ends.

        Then Ray names it after the actor again.
        """
        ray._raylet.setproctitle(f"ray::{title_of(spec)}")  # type: ignore[attr-defined]  # Ray's stubs lack it

    def show(self, spec: TrialSpec, report: TrialReport) -> None:
        """Write a line to the worker's log and set the metrics, unless both say so already."""
        state = (len(report.records), report.status)
        if self._shown.get(spec.trial_id) == state:
            return
        self._shown[spec.trial_id] = state
        if report.records:
            self._meter.show(spec, report)
        sys.stdout.write(f"{plain(line_of(spec, report))}\n")
        sys.stdout.flush()


def title_of(spec: TrialSpec) -> str:
    """Return, for example, ``roberta/restaurant/lora/seed-3``.

    Ray fails on a title that is not ASCII, and its dashboard shows a title up to the first space.
    """
    return spec.label.replace(" · ", "/").replace(" ", "-").encode("ascii", "replace").decode()


def line_of(spec: TrialSpec, report: TrialReport) -> str:
    """Return, for example, ``roberta · restaurant · lora · seed 3: epoch 2/10, loss 0.4312, macro-F1 71.20 %``.

    The status of a trial that has ended and the notes come last.
    """
    parts = []
    if report.records:
        last = report.records[-1]
        task = task_of(spec.dataset)
        score = last.score(task.watched(spec.score_test))
        parts.append(f"epoch {last.epoch}/{spec.epochs}, loss {last.train_loss:.4f}")
        if score is not None:
            parts.append(f"{task.chooses_by.label} {task.chooses_by.shown(score)}")
    if report.status:
        parts.append(ending(vars(spec), report.status.value, len(report.records)))
    return f"{spec.label}: {', '.join([*parts, *report.notes])}"


def claim_slot(folder: Path) -> tuple[int, int]:
    """Lock the file of the lowest free number in ``folder`` and return (file descriptor, number).

    The lock ends with the process, however the process ends. If no file can be locked, the number is 0: a slot is only
    a name, so that no trial fails for lack of one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            descriptor = os.open(folder / str(number), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor, number
            except BlockingIOError:
                os.close(descriptor)
    except OSError:
        pass
    return -1, 0
