"""Which version of an operation runs: its Triton kernels, or its twin in plain PyTorch.

On a GPU the kernels run where Triton is installed and they agree with the twin. They are compared at the first use of
an operation in a process, for each device, type and size: outputs and gradients of a small example, without and with
dropout. An operation whose kernels don't compile or don't agree is computed by its twin, and a log line says so once.
On a CPU the twin runs. Triton's interpreter runs the kernels there, if ``TRITON_INTERPRET=1`` is set before Triton is
imported; only tests do so.
"""

import logging
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 5e-2}
"""How far numbers of the kernels may lie from those of the twin, as a part of the largest of the twin's numbers.

Rounding alone makes about a tenth of this. A wrong entry of a mask makes more than all of it."""
TF32_TOLERANCE = 1e-2
"""The same for fp32 where products are in TF32."""
FAILURES = (AttributeError, ImportError, OSError, RuntimeError, TypeError, ValueError, subprocess.CalledProcessError)
"""What a kernel raises that does not compile or start, besides Triton's own errors: Triton also calls compilers."""

_log = logging.getLogger(__name__)
_notes: list[str] = []


@dataclass(frozen=True)
class Setting:
    """What the kernels of an operation are compiled for."""

    device: torch.device
    dtype: torch.dtype
    size: int
    """The head size, or the columns of a row."""
    tf32: bool = False
    """Whether products of fp32 numbers are in TF32."""

    @property
    def precision(self) -> str:
        """The name of the precision, as in ``--precision``."""
        names = {torch.float32: "fp32", torch.bfloat16: "bf16"}
        return "tf32" if self.tf32 and self.dtype == torch.float32 else names.get(self.dtype, str(self.dtype))

    @property
    def tolerance(self) -> float:
        """The tolerance of the comparison."""
        return TF32_TOLERANCE if self.precision == "tf32" else TOLERANCE[self.dtype]


Version = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Operation:
    """An operation with both of its versions, which take the same arguments."""

    name: str
    plain: Version
    fused: Callable[[Setting], Version]
    """Returns the version with kernels. Imports Triton."""
    examples: Callable[[Setting], Iterable[tuple[Any, ...]]]
    """Makes arguments for the comparison, the same numbers on any device. Gradients of the tensors that require them
    are compared."""

    def version(self, setting: Setting) -> Version:
        """Return the version to call with tensors of ``setting``.

        Raises RuntimeError where it is asked for the first time while a CUDA graph is captured: the comparison reads
        numbers from the GPU, which a capture can't.
        """
        return chosen_version(self, setting)


def implementation(device: torch.device) -> str:
    """Return "triton" or "torch": what computes the operations on ``device``, but for what ``fallbacks`` says."""
    can_run = device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    return "triton" if can_run and find_spec("triton") is not None else "torch"


def fallbacks() -> tuple[str, ...]:
    """Return a line for each operation that its twin computes, on a GPU or in the interpreter, and why."""
    return tuple(_notes)


@cache
def chosen_version(operation: Operation, setting: Setting) -> Version:
    """Return the version of an operation to use in ``setting``, decided once in a process (``Operation.version``)."""
    if implementation(setting.device) == "torch":
        if setting.device.type == "cuda":
            _note("Triton is not installed, so that the GPU runs plain PyTorch, which is slower: install it by "
                  "pip install 'tunekit[triton]'")  # fmt: skip
        return operation.plain
    if setting.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(f"{operation.name} is used for the first time while a CUDA graph is captured")
    with _plain_modes(setting.device):
        why = disagreement(operation, setting)
    if why is None:
        return operation.fused(setting)
    _note(f"{operation.name} (size {setting.size}, {setting.precision}, {setting.device}) is computed by plain "
          f"PyTorch, which is slower, and not by its Triton kernel: {why}")  # fmt: skip
    return operation.plain


@contextmanager
def _plain_modes(device: torch.device) -> Iterator[None]:
    """Compute with gradients and in the tensors' own types, whatever mode the caller is in."""
    # The twin computes on the CPU, so that its autocast counts too.
    autocasts = torch.autocast("cpu", enabled=False), torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), autocasts[0], autocasts[1]:
        yield


def _note(line: str) -> None:
    if line not in _notes:
        _notes.append(line)
        _log.warning(line)


def disagreement(operation: Operation, setting: Setting) -> str | None:
    """Return why the kernels of ``operation`` must not be used, in one line, or None where they agree with the twin.

    The twin computes on the CPU, where nothing changes the precision of its products. Raises
    ``torch.OutOfMemoryError`` where the device is full, which says nothing about a kernel.
    """
    from triton.compiler.errors import CompilationError
    from triton.errors import TritonError

    on_cpu = operation.examples(replace(setting, device=torch.device("cpu")))
    for arguments, same_on_cpu in zip(operation.examples(setting), on_cpu, strict=True):
        try:
            found = _numbers(operation.fused(setting), arguments)
        except torch.OutOfMemoryError:
            raise
        except (*FAILURES, TritonError) as error:
            lines = str(error).strip().splitlines() or ["no message"]
            # A CompilationError quotes the kernel first, and says last what is wrong.
            return f"{type(error).__name__}: {lines[-1 if isinstance(error, CompilationError) else 0]}"
        expected = _numbers(operation.plain, same_on_cpu)
        for name, one, other in zip(_names(len(found)), found, expected, strict=True):
            distance = ((one - other).abs().max() / other.abs().max()).item()
            if not distance <= setting.tolerance:  # a NaN is no agreement either
                return f"its {name} differs by {distance:.1e} of the largest number, more than {setting.tolerance:.0e}"
    return None


def _names(count: int) -> list[str]:
    return ["output", *(f"gradient {number}" for number in range(1, count))]


def _numbers(version: Version, arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    """Return the output of a version and its gradients, on the CPU in fp64."""
    inputs = [one for one in arguments if isinstance(one, torch.Tensor) and one.requires_grad]
    out = version(*arguments)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    gradients = torch.autograd.grad(out, inputs, weights)
    return [one.detach().cpu().double() for one in (out, *gradients)]
