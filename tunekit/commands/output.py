"""Where commands write: results to standard output, notes to standard error.

A result reads the same on a terminal and in a pipe. Notes are text on a terminal and JSON lines elsewhere.
"""

import json
import sys
import time
from collections.abc import Callable

from rich.console import Console, RenderableType

from tunekit.parsing import plain

Say = Callable[[str], None]
"""Takes a line, or several, for the user."""
MIN_WIDTH = 80
BEGAN = time.monotonic()
"""When the command began, or in Python the first run: the command line imports this module before anything else."""


def note(text: str) -> None:
    """Write a note to standard error: text for a person, or a JSON line where no terminal shows it."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if console.is_terminal or console.is_jupyter:
        console.print(plain(text))
    else:
        event_line("note", text=text)


def event_line(event: str, **values: object) -> None:
    """Write an event to standard error as one JSON line, with the seconds since the command began."""
    line = {"event": event, "seconds": round(time.monotonic() - BEGAN, 1), **values}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def error_line(text: str) -> None:
    """Write one line of text to standard error, on a terminal or not."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(plain(text))


def result(text: str) -> None:
    """Write text that was asked for to standard output."""
    Console(highlight=False, markup=False, soft_wrap=True).print(plain(text))


def show(shown: RenderableType) -> None:
    """Write a table to standard output at its own width: a terminal wraps it, a pipe gets the same lines."""
    width = Console(width=10_000).measure(shown).maximum
    Console(highlight=False, width=max(width, MIN_WIDTH)).print(shown)


def show_json(content: object) -> None:
    """Write ``content`` to standard output as one line of JSON."""
    sys.stdout.write(json.dumps(content, allow_nan=False) + "\n")
