"""What all kernels are started with: the device, the type in which they compute, and the precision of products."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl


def on_device(x: torch.Tensor) -> AbstractContextManager[Any]:
    """Return a context in which kernels start on the GPU of ``x``: Triton starts them on the current one."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def accumulator(x: torch.Tensor) -> Any:
    """Return ``ACC`` for inputs such as ``x``: fp32, or fp64 for fp64."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def accumulator_type(x: torch.Tensor) -> torch.dtype:
    """Return PyTorch's name of ``accumulator(x)``."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def tile_width(columns: int) -> int:
    """Return the columns of a tile that holds ``columns``: a power of two, and at least the 16 that a product takes."""
    return max(16, int(triton.next_power_of_2(columns)))
