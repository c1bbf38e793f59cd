"""How a run speaks while it lasts: a live view on a terminal, JSON lines elsewhere."""

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunekit.planning.plan import Plan, PlanState
from tunekit.schema import Scalar, Status, TrialSpec, shown_metric
from tunekit.search.outcome import ConfigurationOutcome
from tunekit.search.study import Study
from tunekit.storage.paths import Place
from tunekit.store.eta import Pace, TrialKind, clock, kind_of, remaining_seconds
from tunekit.store.search_records import TrialState


class Display(ABC):
    """A context manager around a run; subclasses say what the view and the last event hold."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.notes: list[str] = []
        self.console = Console()
        self.live: Live | None = None

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.live = Live(get_renderable=self.view, console=self.console, refresh_per_second=2)
            self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()
        self.event("end", **self.totals())

    @abstractmethod
    def view(self) -> Group:
        """What a terminal shows."""

    @abstractmethod
    def totals(self) -> dict[str, int]:
        """What the last event says."""

    def look(self, dashboard: str | None, storage: Place, experiment: Path, **counts: int) -> None:
        """Ray runs: say where to look."""
        where = {
            "storage": str(storage),
            "dashboard": dashboard,
            "tensorboard": f"tensorboard --logdir {experiment}",
        }
        self.notes += [f"{name}: {value}" for name, value in where.items() if value]
        self.event("start", **counts, **where)

    def note(self, line: str) -> None:
        """Something a person should read."""
        self.notes.append(line)
        self.event("note", text=line)

    def event(self, event: str, **values: object) -> None:
        """A JSON line, where no terminal shows the view."""
        if not self.console.is_terminal:
            sys.stdout.write(
                json.dumps({"event": event, "seconds": round(time.monotonic() - self.begun, 1), **values}) + "\n"
            )
            sys.stdout.flush()


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
    paces: dict[TrialKind, Pace] = field(default_factory=dict)

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
        done = self.plan.count(PlanState.DONE) + self._count(Status.COMPLETED)
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


@dataclass
class Tally:
    """Where one study stands."""

    planned: int
    ended: int
    best: float | None = None
    running: int = 0


class SearchProgress(Display):
    """Counts the trials of a search and shows them; a context manager around the run."""

    def __init__(self, studies: Sequence[Study]) -> None:
        super().__init__()
        self.tallies = {study.plan.key: Tally(study.plan.planned, study.num_ended) for study in studies}
        self.states: list[TrialState] = []
        self.trained = 0
        for study in studies:
            for trial in study.summary().trials:
                self._score(study.plan.key, trial.state, trial.values)

    def begin(self, *, slots: int, dashboard: str | None, storage: Place, experiment: Path) -> None:
        """Ray runs: say where to look."""
        left = sum(max(0, tally.planned - tally.ended) for tally in self.tallies.values())
        self.look(dashboard, storage, experiment, trials=left, studies=len(self.tallies), slots=slots)

    def started(self, key: str, number: int, params: Mapping[str, Scalar]) -> None:
        """A configuration was suggested."""
        self.tallies[key].running += 1
        self.event("suggested", study=key, number=number, params=dict(params))

    def epoch(self, key: str, number: int, result: Mapping[str, Any]) -> None:
        """A configuration reported an epoch."""
        self.event("epoch", study=key, number=number, epoch=result["epoch"], objective=result["objective"])

    def ended(self, key: str, number: int, outcome: ConfigurationOutcome, *, trained: bool) -> None:
        """A configuration ended, ``trained`` here or answered from the store."""
        tally = self.tallies[key]
        tally.running -= 1
        tally.ended += 1
        self.states.append(outcome.state)
        self._score(key, outcome.state, outcome.values)
        self.trained += trained
        values = None if outcome.values is None else list(outcome.values)
        said = {"study": key, "number": number, "state": outcome.state.value, "values": values, "trained": trained}
        self.event("trial", **said, eta_seconds=self.eta_seconds())

    def eta_seconds(self) -> float | None:
        """Seconds until all trials have ended, at the pace of those trained so far; None before one was."""
        if not self.trained:
            return None
        left = sum(max(0, tally.planned - tally.ended) for tally in self.tallies.values())
        return round(left * (time.monotonic() - self.begun) / self.trained, 1)

    def _score(self, key: str, state: TrialState, values: Sequence[float] | None) -> None:
        if state is TrialState.COMPLETE and values:
            known = self.tallies[key].best
            self.tallies[key].best = values[0] if known is None else max(known, values[0])

    def totals(self) -> dict[str, int]:
        """What the last event says."""
        return {state.value: self.states.count(state) for state in TrialState}

    def view(self) -> Group:
        """The live table."""
        table = Table()
        for name in ("study", "ended", "running", "best on validation"):
            table.add_column(name, justify="left" if name == "study" else "right")
        for key, tally in self.tallies.items():
            best = "-" if tally.best is None else f"{100 * tally.best:.2f}"
            table.add_row(key, f"{tally.ended}/{tally.planned}", str(tally.running), best)
        eta = self.eta_seconds()
        return Group(*(Text(note) for note in self.notes), table, Text(f"ETA {'-' if eta is None else clock(eta)}"))
