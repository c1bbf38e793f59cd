"""The frame of what a run shows: a live view on a terminal, JSON lines elsewhere, both on standard error."""

import shlex
import time
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunekit.commands.output import event_line, pasted
from tunekit.storage.paths import Place


class Display(ABC):
    """A context manager around a run; subclasses say what the view and the last event hold."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.notes: list[str] = []
        self.waits_for: str | None = None
        """What the run waits for, until something trains."""
        self.over = False
        self.console = Console(stderr=True)
        self.live: Live | None = None

    def __enter__(self) -> "Display":
        if self.console.is_terminal or self.console.is_jupyter:
            self.live = Live(get_renderable=self.view, console=self.console, refresh_per_second=2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # in a notebook without ipywidgets, rich shows the last view only
                self.live.start()
        self.wait("starting Ray")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over, self.waits_for = True, None
        if self.live:
            self.live.stop()
        self.event("end", **self.totals())

    def view(self) -> Group:
        """Return what a terminal shows: the notes, the table, what the run waits for, and where it is."""
        shown: list[RenderableType] = [Text(note) for note in self.notes]
        table = self.table()
        if table.row_count:
            shown.append(table)
        if self.waits_for:
            shown.append(Text(f"{self.waits_for} ...", style="dim"))
        line = self.line()
        return Group(*shown, *([Text(line)] if line else []))

    @abstractmethod
    def table(self) -> Table:
        """Return the table of the view; it is shown only where it has rows."""

    @abstractmethod
    def line(self) -> str:
        """Return the last line of the view."""

    @abstractmethod
    def totals(self) -> dict[str, int]:
        """Return what the last event says."""

    def wait(self, what: str) -> None:
        """Say what the run waits for, as in "starting Ray", until the next wait or the first trial."""
        self.waits_for = what
        self.event("wait", text=what)

    def look(self, dashboard: str | None, storage: Place, experiment: Path, *, at_a_time: int, **counts: int) -> None:
        """Say where to look, once Ray runs; the trials' processes start now."""
        where = {
            "storage": str(storage),
            "dashboard": dashboard,
            "tensorboard": shlex.join(["tensorboard", "--logdir", str(experiment)]),
        }
        shown = where | {"storage": pasted(storage)}
        self.notes += [f"{name}: {value}" for name, value in shown.items() if value]
        self.event("start", at_a_time=at_a_time, **counts, **where)
        self.wait(f"starting {at_a_time} worker process{'es' if at_a_time > 1 else ''}")

    def note(self, line: str) -> None:
        """Say something that a person should read."""
        self.notes.append(line)
        self.event("note", text=line)

    def event(self, event: str, **values: object) -> None:
        """Write a JSON line, where nobody sees the view."""
        if not (self.console.is_terminal or self.console.is_jupyter):
            event_line(event, **values)
