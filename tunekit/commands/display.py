"""The display of a run: a live view on a terminal, JSON lines elsewhere, both on standard error."""

import shlex
import time
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunekit.commands.output import event_line, pasted
from tunekit.parsing import plain
from tunekit.storage.paths import Place


class Display(ABC):
    """A context manager around a run. Subclasses give the content of the view and of the last event."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.waits_for: str | None = None
        """The thing that the run waits for, until something trains."""
        self.over = False
        self.console = Console(stderr=True)
        self.live: Live | None = None

    def __enter__(self) -> "Display":
        # In a notebook rich needs ipywidgets for a view that changes, and warns at each refresh where it is missing.
        if find_spec("ipywidgets") if self.console.is_jupyter else self.console.is_terminal:
            self.live = Live(get_renderable=self.view, console=self.console, refresh_per_second=2)
            self.live.start()
        self.wait("starting Ray")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over, self.waits_for = True, None
        if self.live:
            self.live.stop()
        elif self.console.is_jupyter:
            self.console.print(self.view())
        self.event("end", **self.totals())

    def view(self) -> Group:
        """Return the view below the notes on a terminal: the table, the thing that is waited for, and the last line."""
        shown: list[RenderableType] = []
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
        """Return the counts in the last event."""

    def wait(self, what: str) -> None:
        """Say what the run waits for, as in "starting Ray", until the next wait or the first trial."""
        self.waits_for = what
        self.event("wait", text=what)

    def look(self, dashboard: str | None, storage: Place, experiment: Path, *, at_a_time: int, **counts: int) -> None:
        """Name the places to look at, once Ray runs. The trials' processes start now."""
        where = {
            "storage": str(storage),
            "dashboard": dashboard,
            "tensorboard": shlex.join(["tensorboard", "--logdir", str(experiment)]),
        }
        shown = where | {"storage": pasted(storage)}
        for name, value in shown.items():
            if value:
                self._print(f"{name}: {value}")
        self.event("start", at_a_time=at_a_time, **counts, **where)
        self.wait(f"starting {at_a_time} worker process{'es' if at_a_time > 1 else ''}")

    def note(self, line: str) -> None:
        """Show a line that a person should read."""
        self._print(line)
        self.event("note", text=line)

    def _print(self, line: str) -> None:
        """Write a line above the view on a terminal. The terminal wraps it, so that it can be pasted."""
        if self.console.is_terminal or self.console.is_jupyter:
            self.console.print(Text(plain(line)), soft_wrap=True)

    def event(self, event: str, **values: object) -> None:
        """Write a JSON line where no terminal shows the view."""
        if not (self.console.is_terminal or self.console.is_jupyter):
            event_line(event, **values)
