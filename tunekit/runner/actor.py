"""The actor that trials run in, one after another: Ray's dashboard knows it by its slot, its log names the trial."""

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
from tunekit.schema import TrialSpec, shown_metric
from tunekit.worker.report import TrialReport


class SlotTrainable(tune.Trainable):
    """A Trainable whose subclasses ``show`` each trial's progress: a line in the worker's log, and Ray's metrics."""

    def __repr__(self) -> str:
        """What the dashboard calls the actor. It asks once, so that a trial's name would stay with the next one."""
        return f"tunekit slot {self.slot}"

    @cached_property
    def slot(self) -> int:
        """The lowest number, from 1, that no other process of this Ray has on this node; 0 outside of Ray."""
        node = ray._private.worker.global_worker.node
        if node is None:
            return 0
        self._lock, slot = claim(Path(node.get_session_dir_path()) / "tunekit-slots")
        return slot

    @cached_property
    def _meter(self) -> Meter:
        return Meter(self.slot)

    @cached_property
    def _shown(self) -> dict[str, tuple[int, object]]:
        return {}

    def show(self, spec: TrialSpec, view: TrialReport) -> None:
        """Say where a trial stands, if that is news."""
        state = (len(view.records), view.status)
        if self._shown.get(spec.trial_id) == state:
            return
        self._shown[spec.trial_id] = state
        if view.records:
            self._meter.show(spec, view)
        sys.stdout.write(f"{plain(line_of(spec, view))}\n")
        sys.stdout.flush()


def line_of(spec: TrialSpec, view: TrialReport) -> str:
    """``roberta · restaurant · lora · seed 3: epoch 2/10, loss 0.4312, macro-F1 71.20 %``, how it ended behind."""
    parts = []
    if view.records:
        last = view.records[-1]
        score = getattr(last, shown_metric(spec.score_test))
        parts.append(f"epoch {last.epoch}/{spec.epochs}, loss {last.train_loss:.4f}")
        if score is not None:
            parts.append(f"macro-F1 {100 * score:.2f} %")
    if view.status:
        parts.append(view.status.value)
    return f"{spec.label}: {', '.join([*parts, *view.notes])}"


def claim(folder: Path) -> tuple[int, int]:
    """Lock the lowest free number's file: (descriptor, number). The lock ends with the process, however that ends.

    Where nothing can be locked the number is 0: no trial fails for want of a name.
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
