"""Bias and GELU of rows: x times the standard normal distribution's cumulative probability of x."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from tunekit.engine.kernels.fused.row_tiles import (
    load_weight,
    place_of_tile,
    row_tiles,
    store_sum,
    tile_sums,
    trial_stride,
    trials_of,
    weight_gradients,
    weights_side_by_side,
)

_SQRT_HALF = tl.constexpr(0.5**0.5)
_DENSITY_AT_0 = tl.constexpr(0.3989422804014327)
"""1 / sqrt(2 * pi), of the standard normal distribution."""


@triton.jit
def _input(x, bias, offset, exists, column, columns, bias_stride, BIAS: tl.constexpr, ACC: tl.constexpr):
    """Return x + bias for one tile. ``bias_stride`` lies between the biases of two trials: 0 where they share one."""
    values = tl.load(x + offset, exists, 0.0).to(ACC)
    if BIAS:
        values += load_weight(bias, bias_stride, column, columns).to(ACC)[None, :]
    return values


@triton.jit(do_not_specialize=["rows"])
def _forward(
    x, bias, out, rows, columns, bias_stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BIAS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write gelu(x + bias) for one tile."""
    _, _, _, column, offset, exists = place_of_tile(rows, columns, ROWS, COLUMNS)
    values = _input(x, bias, offset, exists, column, columns, bias_stride, BIAS, ACC)
    values *= 0.5 * (1.0 + tl.erf(values * _SQRT_HALF))
    tl.store(out + offset, values.to(out.dtype.element_ty), exists)


@triton.jit(do_not_specialize=["rows"])
def _backward(
    x, bias, out_grad, x_grad, bias_sums, rows, columns, bias_stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, BIAS: tl.constexpr, BIAS_GRADIENT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write the gradient of x for one tile, and with BIAS_GRADIENT the tile's sum over rows of it."""
    _, _, _, column, offset, exists = place_of_tile(rows, columns, ROWS, COLUMNS)
    values = _input(x, bias, offset, exists, column, columns, bias_stride, BIAS, ACC)
    probability = 0.5 * (1.0 + tl.erf(values * _SQRT_HALF))
    density = tl.exp(-0.5 * values * values) * _DENSITY_AT_0
    gradient = tl.load(out_grad + offset, exists, 0.0).to(ACC) * (probability + values * density)
    tl.store(x_grad + offset, gradient.to(x_grad.dtype.element_ty), exists)
    if BIAS_GRADIENT:
        store_sum(bias_sums, 0, gradient, column, columns)


class _BiasGelu(torch.autograd.Function):
    """gelu(x + bias) of x (..., F) and a bias (F,), (K, F) or None, and the gradients of both."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        out = torch.empty_like(x)
        _start(_forward, x, bias, out)
        ctx.save_for_backward(x, bias)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        x, bias = ctx.saved_tensors
        asked = ctx.needs_input_grad[1]
        x_grad = torch.empty_like(x)
        sums = tile_sums(1, row_tiles(x, trials_of(bias), whole_rows=False), x) if asked else None
        _start(_backward, x, bias, out_grad.contiguous(), x_grad, sums, BIAS_GRADIENT=asked)
        return x_grad, None if sums is None else weight_gradients(sums, bias)[0]


def _start(
    kernel: Any, x: torch.Tensor, bias: torch.Tensor | None, *others: torch.Tensor | None, **flags: bool
) -> None:
    tiles = row_tiles(x, trials_of(bias), whole_rows=False)
    tiles.start(kernel, x, bias, *others, like=x, bias_stride=trial_stride(bias), BIAS=bias is not None, **flags)


def bias_gelu(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return what ``tunekit.engine.kernels.gelu.bias_gelu`` does."""
    bias = None if bias is None else weights_side_by_side(bias)
    activated: torch.Tensor = _BiasGelu.apply(x.contiguous(), bias)  # type: ignore[no-untyped-call]
    return activated
