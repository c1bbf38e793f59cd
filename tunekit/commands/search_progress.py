"""What a running search says: studies and their trials, as a live table or JSON lines."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tunekit.commands.console import Display
from tunekit.schema import Scalar
from tunekit.search.outcome import Outcome
from tunekit.search.study import Study
from tunekit.storage.paths import Place
from tunekit.store.eta import clock
from tunekit.store.search_records import TrialState


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

    def ended(self, key: str, number: int, outcome: Outcome, *, trained: bool) -> None:
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
