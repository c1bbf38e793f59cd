"""How a run speaks while it lasts: a live view on a terminal, JSON lines elsewhere."""

import json
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live

from tunekit.storage.paths import Place


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
