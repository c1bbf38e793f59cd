"""The exit codes of commands, for their errors and for signals."""

import os
import select
import sys
from collections.abc import Callable

from tunekit.commands.output import error_line
from tunekit.errors import UserError
from tunekit.signals import Signals, Stopped
from tunekit.storage.lease import Superseded
from tunekit.store.records import DamagedRecord

OK = 0
INCOMPLETE = 1
"""Something did not complete, or a check found a difference."""
BAD_INPUT = 2
BROKEN_PIPE = 141
"""The exit code, in a shell, of a program that SIGPIPE ended: the reader of its output, such as `head`, has ended."""


def exit_code_of(command: Callable[[], int]) -> int:
    """Return the exit code of ``command``. An error that it raises, or a signal, becomes one line on standard error."""
    try:
        with Signals():
            try:
                return command()
            finally:
                sys.stdout.flush()
    except (UserError, DamagedRecord) as error:
        error_line(f"error: {error}")
        return BAD_INPUT
    except BrokenPipeError as error:
        if not _reader_has_left():
            error_line(f"error: {error}")
            return INCOMPLETE
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's last flush raises again
        return BROKEN_PIPE
    except (OSError, Superseded) as error:
        error_line(f"error: {error}")
        return INCOMPLETE
    except Stopped as stopped:
        error_line("interrupted; the same command goes on from here")
        return stopped.exit_code


def _reader_has_left() -> bool:
    """Return whether standard output is a pipe without a reader. Other pipes and sockets can break, too."""
    poll = select.poll()
    poll.register(sys.stdout, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
