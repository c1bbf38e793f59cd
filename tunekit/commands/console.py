"""The display of a grid or a search while it runs: trials that are done, trials that run, and the time that is left."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from tunekit.commands.display import Display
from tunekit.planning.plan import Plan, PlanState
from tunekit.schema import Scalar, Status, TrialSpec
from tunekit.storage.paths import Place
from tunekit.store.eta import Pace, TrialKind, clock, kind_of, remaining_seconds
from tunekit.store.search_records import TrialState
from tunekit.tasks import Metric, task_of

if TYPE_CHECKING:
    from tunekit.search.outcome import ConfigurationOutcome
    from tunekit.search.study import Study  # imports optuna

SHOWN = 12
"""The number of running trials that the live table lists."""


@dataclass
class Running:
    """A trial that trains now."""

    epochs: int
    """The number of epochs on record."""
    epoch_began: float
    """When its present epoch began, in seconds of ``time.monotonic``."""
    score: float | None = None
    """The score by which its task chooses trials, after its last epoch."""


@dataclass
class Progress(Display):
    """Counts trials and epochs of one run and shows them; a context manager around the run."""

    plan: Plan
    pending: Mapping[str, TrialSpec]
    """The trials that this run trains, by trial_id."""
    at_a_time: int = 1
    """The number of trials that run at a time."""
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

    def begin(self, *, at_a_time: int, dashboard: str | None, storage: Place, experiment: Path) -> None:
        """Say where to look, once Ray runs."""
        self.at_a_time = max(1, at_a_time)
        counts = {"trials": len(self.pending), "total": len(self.plan.trials)}
        self.look(dashboard, storage, experiment, at_a_time=self.at_a_time, **counts)

    def started(self, trial_id: str) -> None:
        """Note that a worker process has taken the trial."""
        self.running[trial_id] = Running(self.epochs_done[trial_id], time.monotonic())

    def epoch(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note an epoch that the trial reported."""
        if not result.get("epoch"):
            return
        self.waits_for = None
        spec = self.pending[trial_id]
        pace = self._at_epoch(trial_id, result["epoch"])
        pace.seconds += result["epoch_seconds"]
        pace.num_epochs += 1
        task = task_of(spec.dataset)
        score = result[task.watched(spec.score_test)]
        self.running[trial_id] = Running(result["epoch"], time.monotonic(), score)
        self.event(
            "epoch",
            trial=spec.label,
            trial_id=trial_id,
            **{
                name: result[name]
                for name in ("epoch", "train_loss", f"val_{task.primary}", f"test_{task.primary}", "epoch_seconds")
            },
            eta_seconds=self.eta_seconds(),
        )

    def ended(self, trial_id: str, status: Status) -> None:
        """Note that the trial ended."""
        self.running.pop(trial_id, None)
        self._at_epoch(trial_id, self.pending[trial_id].epochs)
        self.finished[trial_id] = status
        self.event("trial", trial=self.pending[trial_id].label, trial_id=trial_id, status=status.value)

    def eta_seconds(self) -> float | None:
        """Return the seconds until all trials are done, or None before the first epoch.

        The time that running epochs have taken so far is subtracted.
        """
        now = time.monotonic()
        running = list(self.running.items())  # the display's thread reads while trials end
        under_way = [(kind_of(self.pending[trial_id]), now - state.epoch_began) for trial_id, state in running]
        return remaining_seconds(self.paces, self.at_a_time, under_way)

    def _at_epoch(self, trial_id: str, epoch: int) -> Pace:
        """Note that the trial is at ``epoch``, which a retry may lower, and return the pace of its kind."""
        pace = self.paces[kind_of(self.pending[trial_id])]
        pace.epochs_left -= epoch - self.epochs_done[trial_id]
        self.epochs_done[trial_id] = epoch
        return pace

    def _count(self, status: Status) -> int:
        return sum(value is status for value in self.finished.values())

    def _num_failed(self) -> int:
        return sum(value not in (Status.COMPLETED, Status.STOPPED) for value in self.finished.values())

    def totals(self) -> dict[str, int]:
        """Return the numbers of trials that completed and failed."""
        return {"completed": self._count(Status.COMPLETED), "failed": self._num_failed()}

    def line(self) -> str:
        """Return a line on the trials and epochs that are done, and the time until all are."""
        done = self.plan.count(PlanState.DONE) + self._count(Status.COMPLETED)
        epochs, all_epochs = sum(self.epochs_done.values()), sum(spec.epochs for spec in self.pending.values())
        failed = f", {self._num_failed()} failed" if self._num_failed() else ""
        running = "" if self.over else f", {len(self.running)} running"
        eta = "" if self.over else _eta_text(self.eta_seconds())
        return f"{done} of {len(self.plan.trials)} trials done{running}{failed}; epoch {epochs} of {all_epochs}{eta}"

    def table(self) -> Table:
        """Return a table of the running trials, without rows when the run is over."""
        metrics = {spec.dataset: task_of(spec.dataset).chooses_by for spec in self.pending.values()}
        table = Table("running trial", "epoch", ", ".join(dict.fromkeys(one.label for one in metrics.values())))
        for trial_id, state in [] if self.over else list(self.running.items())[:SHOWN]:
            spec = self.pending[trial_id]
            score = "" if state.score is None else metrics[spec.dataset].shown(state.score)
            table.add_row(Text(spec.label), f"{state.epochs}/{spec.epochs}", score)
        return table


@dataclass
class Tally:
    """The progress of one study."""

    name: str
    """The study's name for people."""
    metric: Metric
    """The metric that it optimises."""
    planned: int
    ended: int
    best: float | None = None
    """The best score on validation; None before one trial completed."""
    running: int = 0


class SearchProgress(Display):
    """Counts the trials of a search and shows them; a context manager around the run."""

    def __init__(self, studies: "Sequence[Study]") -> None:
        super().__init__()
        self.tallies = {
            study.plan.key: Tally(study.plan.name, study.plan.metric, study.plan.planned, study.num_ended)
            for study in studies
        }
        self.states: list[TrialState] = []
        self.trained = 0
        for study in studies:
            for trial in study.summary().trials:
                self._score(study.plan.key, trial.state, trial.values)

    def begin(self, *, at_a_time: int, dashboard: str | None, storage: Place, experiment: Path) -> None:
        """Say where to look, once Ray runs."""
        left = sum(max(0, tally.planned - tally.ended) for tally in self.tallies.values())
        self.look(dashboard, storage, experiment, trials=left, studies=len(self.tallies), at_a_time=at_a_time)

    def started(self, key: str, number: int, params: Mapping[str, Scalar]) -> None:
        """Note that a configuration was suggested."""
        self.tallies[key].running += 1
        self.event("suggested", study=key, number=number, params=dict(params))

    def epoch(self, key: str, number: int, result: Mapping[str, Any]) -> None:
        """Note an epoch that a configuration reported."""
        self.waits_for = None
        self.event("epoch", study=key, number=number, epoch=result["epoch"], objective=result["objective"])

    def ended(self, key: str, number: int, outcome: "ConfigurationOutcome", *, trained: bool) -> None:
        """Note that a configuration ended, ``trained`` here or answered from the store."""
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
        """Return the seconds until all trials have ended, at the pace of this run, or None before one was trained."""
        if not self.trained:
            return None
        left = sum(max(0, tally.planned - tally.ended) for tally in self.tallies.values())
        return round(left * (time.monotonic() - self.begun) / self.trained, 1)

    def _score(self, key: str, state: TrialState, values: Sequence[float] | None) -> None:
        if state is TrialState.COMPLETE and values:
            tally = self.tallies[key]
            tally.best = values[0] if tally.best is None else tally.metric.best((tally.best, values[0]))

    def totals(self) -> dict[str, int]:
        """Return the number of trials that ended in each state."""
        return {state.value: self.states.count(state) for state in TrialState}

    def line(self) -> str:
        """Return a line on the trials that have ended, and the time until all have."""
        ended = sum(tally.ended for tally in self.tallies.values())
        planned = sum(tally.planned for tally in self.tallies.values())
        return f"{ended} of {planned} trials ended{'' if self.over else _eta_text(self.eta_seconds())}"

    def table(self) -> Table:
        """Return a table of the progress of each study."""
        table = Table("study")
        for name in ("ended", *(() if self.over else ("running",)), "best on validation"):
            table.add_column(name, justify="right")
        for tally in self.tallies.values():
            best = "" if tally.best is None else tally.metric.number(tally.best)
            running = () if self.over else (str(tally.running),)
            table.add_row(Text(tally.name), f"{tally.ended}/{tally.planned}", *running, best)
        return table


def _eta_text(seconds: float | None) -> str:
    """Return ``; ETA 1:02``, the end of a line; an empty text where the time is not known yet."""
    return "" if seconds is None else f"; ETA {clock(seconds)}"
