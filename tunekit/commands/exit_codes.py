"""Exit codes: what a command's errors and signals become."""

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


def exit_code_of(command: Callable[[], int]) -> int:
    """Return the exit code of ``command``; an error that it raises, or a signal, becomes one line on standard error."""
    try:
        with Signals():
            return command()
    except (UserError, DamagedRecord) as error:
        error_line(f"error: {error}")
        return BAD_INPUT
    except (OSError, Superseded) as error:
        error_line(f"error: {error}")
        return INCOMPLETE
    except Stopped as stopped:
        error_line("interrupted; the same command goes on from here")
        return stopped.exit_code
