"""Ctrl-C and SIGTERM end a run in order; a second signal ends it at once."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}
"""Schedulers that requeue (75 is EX_TEMPFAIL) send SIGTERM."""
STOP_SECONDS = 8
"""The process ends at the latest so long after the first signal, whatever Ray is doing."""


class Stopped(KeyboardInterrupt):
    """A signal asked the run to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = EXIT_CODES[signal.Signals(number)]
        self.deadline: threading.Timer | None = None

    def go_on(self) -> None:
        """Cancel the deadline, so that the process goes on, as a notebook does."""
        if self.deadline:
            self.deadline.cancel()


class Signals:
    """While entered, the first SIGINT or SIGTERM raises Stopped in the main thread, with a deadline.

    A second signal and the deadline end the process at once, after ``leave``.
    """

    def __init__(self, leave: Callable[[], None] = lambda: None) -> None:
        self.leave = leave
        self.stopped: Stopped | None = None

    def __enter__(self) -> "Signals":
        self.former = {number: signal.signal(number, self._first) for number in EXIT_CODES}
        return self

    def install_again(self) -> None:
        """Put the handlers of this object first again, once Ray has started in this process.

        As it starts, Ray puts its own handlers before them. One of these prints a stack at SIGTERM and aborts the
        process 3 seconds later, so that a busy machine ended a run with 134 instead of 75.
        """
        if not self.stopped:
            for number in EXIT_CODES:
                signal.signal(number, self._first)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)
        # Where Ray waits, it replaces the exception of the handler by a KeyboardInterrupt of its own.
        if self.stopped and kind is KeyboardInterrupt:
            raise self.stopped from error

    def _first(self, number: int, frame: FrameType | None) -> None:
        stopped = self.stopped = Stopped(number)
        deadline = threading.Timer(STOP_SECONDS, self._end, [stopped.exit_code])
        deadline.daemon = True
        deadline.start()
        stopped.deadline = deadline
        for each in EXIT_CODES:
            signal.signal(each, lambda *_: self._end(stopped.exit_code))
        raise stopped

    def _end(self, exit_code: int) -> None:
        try:
            self.leave()
        finally:
            os._exit(exit_code)
