"""What may go wrong in a trial, by what is done about it."""

from enum import Enum, auto

import torch

from tunekit.engine.train import Diverged
from tunekit.errors import UserError
from tunekit.schema import Status

PAUSES_SECONDS = (1, 5, 25)
"""Before each retry of an I/O error; then it is raised."""


class Failure(Enum):
    """A class of errors."""

    DIVERGED = auto()
    """The same numbers come again: ends the trial."""
    CONFIGURATION = auto()
    """Wrong input: ends the trial."""
    OUT_OF_MEMORY = auto()
    """Retried with half the micro-batch, down to single examples, then ends the trial."""
    IO = auto()
    """A full disk, a lost mount: retried after a pause, then raised."""
    OTHER = auto()
    """A broken device, a defect, a later start: raised at once, so that Tune retries it in a fresh process."""


ENDINGS = {
    Failure.DIVERGED: Status.DIVERGED,
    Failure.CONFIGURATION: Status.FAILED,
    Failure.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
}
"""Statuses of the trials that a class ends."""


CLASSED = (Diverged, UserError, MemoryError, OSError, RuntimeError)
"""Types of the errors that ``classify`` tells apart; any other is a defect, and raised."""


def classify(error: Exception) -> Failure:
    """The class of ``error``."""
    if isinstance(error, Diverged):
        return Failure.DIVERGED
    if isinstance(error, UserError):
        return Failure.CONFIGURATION
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return Failure.OUT_OF_MEMORY
    return Failure.IO if isinstance(error, OSError) else Failure.OTHER
