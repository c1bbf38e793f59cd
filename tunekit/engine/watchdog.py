"""A trial that hangs (a dead mount, a stuck device) ends its process, so that it can be tried again."""

import faulthandler
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TextIO

from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place

SILENT_SECONDS = 600
"""A process hangs if no batch of training or scoring began for this long: no batch takes minutes."""
NOTE_SECONDS = 5
"""A batch is noted only if this long has passed since the last noted one, since noting costs a system call."""

_log: TextIO | None = None  # open while the watchdog is on
_last_noted = 0.0


@contextmanager
def watchdog(log: Place) -> Iterator[None]:
    """While entered, end this process when ``note_batch`` was not called for ``SILENT_SECONDS``.

    Where the process hung is then written to ``log``, or to standard error where ``log`` is an object of an object
    store, since a process that hangs can't upload one. The timer is the interpreter's own and runs outside of Python:
    code that never returns to Python is ended too.
    """
    global _log
    with nullcontext(sys.__stderr__) if isinstance(log, ObjectPath) else log.open("a", encoding="utf-8") as _log:
        _arm()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            _log = None


def note_batch(*_: object) -> None:
    """Note that a batch begins. It is a module's forward hook and takes whatever a hook is given."""
    if _log is not None and time.monotonic() - _last_noted > NOTE_SECONDS:
        _arm()


def _arm() -> None:
    global _last_noted
    _last_noted = time.monotonic()
    if _log is not None:
        faulthandler.dump_traceback_later(SILENT_SECONDS, exit=True, file=_log)
