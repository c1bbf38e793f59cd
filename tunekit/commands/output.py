"""The output of commands: results go to standard output, notes to standard error.

A result reads the same on a terminal and in a pipe. Notes are text on a terminal and JSON lines elsewhere.
"""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, RenderableType

from tunekit.parsing import plain

Say = Callable[[str], None]
"""Takes a line, or several, for the user."""
MIN_WIDTH = 80
BORDERS = 3
"""The width that rich puts around the text of a column: two spaces and a line."""


def note(text: str) -> None:
    """Write a note to standard error: text for a person, or a JSON line where no terminal shows it."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if console.is_terminal or console.is_jupyter:
        console.print(plain(text))
    else:
        event_line("note", text=text)


class Clock:
    """The seconds that events carry. The command line imports this module before anything else, and so starts it."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count from now on. A call of the Python API begins so, in a process that may be hours old."""
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since the command, or the latest call, began."""
        return round(time.monotonic() - self._began, 1)


CLOCK = Clock()


def event_line(event: str, **values: object) -> None:
    """Write an event to standard error as one JSON line, with the seconds since the command or the call began."""
    line = {"event": event, "seconds": CLOCK.seconds(), **values}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def error_line(text: str) -> None:
    """Write one line of text to standard error, on a terminal or not."""
    Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True).print(plain(text))


def result(text: str) -> None:
    """Write text that was asked for to standard output."""
    Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(plain(text))


def show(shown: RenderableType) -> None:
    """Write a table to standard output at its own width, on a terminal and in a pipe."""
    width = Console(width=10_000).measure(shown).maximum
    Console(highlight=False, width=max(width, MIN_WIDTH)).print(shown)


def line_width() -> int:
    """Return the columns of the terminal at standard output; in a pipe, where lines have no limit, 10**6."""
    console = Console()
    return console.width if console.is_terminal else 10**6


def columns_together(first: int, widths: Sequence[int]) -> Iterator[slice]:
    """Yield slices of the columns after a table's first one that fit beside it into the lines of a terminal.

    ``first`` and ``widths`` are the widths of the widest texts of the first column and of the others. A pipe gets one
    slice of all columns.
    """
    room, start, used = line_width() - first - BORDERS - 1, 0, 0
    for place, width in enumerate(widths):
        if place > start and used + width + BORDERS > room:
            yield slice(start, place)
            start, used = place, 0
        used += width + BORDERS
    yield slice(start, len(widths))


def paragraph(text: str) -> None:
    """Write text to standard output, wrapped between words at a terminal's width. A pipe gets it in one line."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(plain(text), soft_wrap=not console.is_terminal)


def pasted(path: object) -> str:
    """Return a path quoted for a shell."""
    return shlex.quote(str(path))


def show_json(content: object) -> None:
    """Write ``content`` to standard output as one line of JSON."""
    sys.stdout.write(json.dumps(content, allow_nan=False) + "\n")
