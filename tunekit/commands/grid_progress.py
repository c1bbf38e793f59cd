"""What a running grid says: a live table on a terminal, JSON lines elsewhere."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tunekit.commands.console import Display
from tunekit.planning.plan import Plan, State
from tunekit.schema import Status, TrialSpec, shown_metric
from tunekit.storage.paths import Place
from tunekit.store.eta import Kind, Pace, clock, kind_of, remaining_seconds

SHOWN = 12
"""Running trials that the live table lists."""


@dataclass
class Running:
    """One trial under way."""

    epochs: int
    since: float
    """Start of its present epoch, ``time.monotonic`` seconds."""
    score: float | None = None


@dataclass
class Progress(Display):
    """Counts trials and epochs of one run and shows them; a context manager around the run."""

    plan: Plan
    pending: Mapping[str, TrialSpec]
    """What this run trains, by trial_id."""
    slots: int = 1
    running: dict[str, Running] = field(default_factory=dict)
    epochs_done: dict[str, int] = field(default_factory=dict)
    finished: dict[str, Status] = field(default_factory=dict)
    paces: dict[Kind, Pace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self.epochs_done = {t.spec.trial_id: t.epochs_done for t in self.plan.trials if t.spec.trial_id in self.pending}
        for trial_id, spec in self.pending.items():
            pace = self.paces.setdefault(kind_of(spec), Pace())
            pace.epochs_left += spec.epochs - self.epochs_done[trial_id]

    def begin(self, *, slots: int, dashboard: str | None, storage: Place, experiment: Path) -> None:
        """Ray runs: say where to look."""
        self.slots = max(1, slots)
        counts = {"trials": len(self.pending), "total": len(self.plan.trials), "slots": self.slots}
        self.look(dashboard, storage, experiment, **counts)

    def started(self, trial_id: str) -> None:
        """A trial is in an actor."""
        self.running[trial_id] = Running(self.epochs_done[trial_id], time.monotonic())

    def epoch(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A trial reported an epoch."""
        if not result.get("epoch"):
            return
        spec = self.pending[trial_id]
        pace = self._at_epoch(trial_id, result["epoch"])
        pace.seconds += result["epoch_seconds"]
        pace.num_epochs += 1
        self.running[trial_id] = Running(result["epoch"], time.monotonic(), result[shown_metric(spec.score_test)])
        self.event(
            "epoch",
            trial=spec.label,
            trial_id=trial_id,
            **{k: result[k] for k in ("epoch", "train_loss", "val_macro_f1", "test_macro_f1", "epoch_seconds")},
            eta_seconds=self.eta_seconds(),
        )

    def ended(self, trial_id: str, status: Status) -> None:
        """A trial ended."""
        self.running.pop(trial_id, None)
        self._at_epoch(trial_id, self.pending[trial_id].epochs)
        self.finished[trial_id] = status
        self.event("trial", trial=self.pending[trial_id].label, trial_id=trial_id, status=status.value)

    def eta_seconds(self) -> float | None:
        """Seconds until all trials are done, epochs under way counted from their start; None before one epoch."""
        now = time.monotonic()
        running = list(self.running.items())  # the display's thread reads while trials end
        under_way = [(kind_of(self.pending[trial_id]), now - state.since) for trial_id, state in running]
        return remaining_seconds(self.paces, self.slots, under_way)

    def _at_epoch(self, trial_id: str, epoch: int) -> Pace:
        """The trial stands at ``epoch``, after a retry perhaps an earlier one; its kind's pace."""
        pace = self.paces[kind_of(self.pending[trial_id])]
        pace.epochs_left -= epoch - self.epochs_done[trial_id]
        self.epochs_done[trial_id] = epoch
        return pace

    def _count(self, status: Status) -> int:
        return sum(value is status for value in self.finished.values())

    def _num_failed(self) -> int:
        return sum(value not in (Status.COMPLETED, Status.STOPPED) for value in self.finished.values())

    def totals(self) -> dict[str, int]:
        """What the last event says."""
        return {"completed": self._count(Status.COMPLETED), "failed": self._num_failed()}

    def view(self) -> Group:
        """The live table."""
        done = self.plan.count(State.DONE) + self._count(Status.COMPLETED)
        epochs, all_epochs = sum(self.epochs_done.values()), sum(spec.epochs for spec in self.pending.values())
        eta = self.eta_seconds()
        header = (
            f"{done} of {len(self.plan.trials)} trials done, {len(self.running)} running, {self._num_failed()} failed; "
            f"epoch {epochs} of {all_epochs}; ETA {'-' if eta is None else clock(eta)}"
        )
        table = Table()
        for name in ("running trial", "epoch", "macro-F1"):
            table.add_column(name)
        for trial_id, state in list(self.running.items())[:SHOWN]:
            spec = self.pending[trial_id]
            score = "-" if state.score is None else f"{100 * state.score:.2f}"
            table.add_row(spec.label, f"{state.epochs}/{spec.epochs}", score)
        return Group(*(Text(note) for note in self.notes), table, Text(header))
