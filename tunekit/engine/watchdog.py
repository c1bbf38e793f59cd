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
"""A process in which no batch began for this long, in training or scoring, hangs. No batch takes minutes."""
BEAT_SECONDS = 5

_log: TextIO | None = None
_last = 0.0


@contextmanager
def watchdog(log: Place) -> Iterator[None]:
    """While entered, end this process when ``beat`` was not called for ``SILENT_SECONDS``; ``log`` tells where it hung.

    To an object nothing can be written any more then: what stands for it is the process's standard error. The timer is
    the interpreter's own, outside of Python: code that never returns to Python is ended too.
    """
    global _log
    with nullcontext(sys.__stderr__) if isinstance(log, ObjectPath) else log.open("a", encoding="utf-8") as _log:
        _arm()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            _log = None


def beat(*_: object) -> None:
    """A batch begins. Takes whatever a module's hook is given."""
    if _log is not None and time.monotonic() - _last > BEAT_SECONDS:
        _arm()


def _arm() -> None:
    global _last
    _last = time.monotonic()
    faulthandler.dump_traceback_later(SILENT_SECONDS, exit=True, file=_log)
