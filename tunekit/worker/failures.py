"""The classes of errors that a trial can meet. They differ in what is done after the error."""

import re
from enum import Enum, auto
from typing import Any

import torch

from tunekit.engine.train import Diverged
from tunekit.errors import UserError, first_line
from tunekit.schema import Status


class Failure(Enum):
    """The classes of errors. They differ in what is done after the error."""

    DIVERGED = auto()
    """The loss is not finite. A retry would give the same numbers, so the trial ends."""
    CONFIGURATION = auto()
    """The user's input is wrong. A retry can't help, so the trial ends."""
    OUT_OF_MEMORY = auto()
    """The trial is retried with each batch computed in twice as many parts. If the parts are single examples, it ends.

    Where other trials share the device, the error is raised for the pack trainer instead."""
    IO = auto()
    """A full disk or a lost mount, for example. The trial is retried after each of the pauses; then the error is
    raised."""
    DEFECT = auto()
    """An index, a shape, a type or a key is wrong, for example. A retry would meet the same error, so the trial ends.

    Its log.txt gets the traceback. The trials of a pack are trained one by one first, so that only the trial at fault
    ends."""
    OTHER = auto()
    """A broken device, for example. The error is raised at once. Ray Tune then retries the trial in a fresh process."""


FINAL_STATUS = {
    Failure.DIVERGED: Status.DIVERGED,
    Failure.CONFIGURATION: Status.FAILED,
    Failure.OUT_OF_MEMORY: Status.OUT_OF_MEMORY,
    Failure.DEFECT: Status.FAILED,
}
"""The status of the trial after a failure that ends it. Errors of the other classes are raised once no retry is
left."""

DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
"""The types of errors that no retry can mend."""
CLASSIFIED_ERRORS = (Diverged, UserError, MemoryError, OSError, RuntimeError, *DEFECTS)
"""The types of errors that are caught and passed to ``classify``. An error of any other type is raised at once."""

DEVICE_ASSERT = "device-side assert"
"""The words of CUDA's error after a kernel met an index out of range. The process can't use the device from then on."""
WRONG_TENSORS = re.compile(
    r"sizes? of tensors? .*must match|size mismatch|shapes? .*(cannot be multiplied|invalid|not broadcastable|mismatch)"
    r"|must match the (existing )?size|index .*out of (range|bounds)|out of bounds|expected scalar type|same dtype"
    r"|not implemented for '|expected all tensors to be on the same device|not on the expected device"
    r"|expects each tensor to be equal size"
    r"|expected (size|tensor|target|input) |dimension out of range|does not require grad",
    re.IGNORECASE,
)
"""The words of torch's RuntimeErrors on tensors whose shapes, types, devices or indices don't fit each other."""


def classify(error: Exception) -> Failure:
    """Return the class of ``error``."""
    if isinstance(error, Diverged):
        return Failure.DIVERGED
    if isinstance(error, UserError):
        return Failure.CONFIGURATION
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return Failure.OUT_OF_MEMORY
    if isinstance(error, OSError):
        return Failure.IO
    if isinstance(error, DEFECTS) or DEVICE_ASSERT in str(error):
        return Failure.DEFECT
    if not isinstance(error, RuntimeError):
        return Failure.OTHER
    # Python's own kinds of RuntimeError: a recursion without end, or a function that is not there.
    of_python = type(error) is not RuntimeError and type(error).__module__ == "builtins"
    return Failure.DEFECT if of_python or WRONG_TENSORS.search(str(error)) else Failure.OTHER


def cause(error: Exception) -> str:
    """Return the error as a summary names it: a defect by its type and first line, any other by its message."""
    return f"{type(error).__name__}: {first_line(error)}" if classify(error) is Failure.DEFECT else str(error)


class DeviceLost(RuntimeError):
    """This process can't use its GPU any more, since a kernel failed in an earlier trial; a fresh process can."""


def device_is_lost() -> bool:
    """Return whether this process had a GPU that it can't use any more."""
    cuda: Any = torch.cuda  # its functions have no types
    if not cuda.is_initialized():
        return False
    try:
        cuda.synchronize()
    except RuntimeError:
        return True
    return False
