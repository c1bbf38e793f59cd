"""Dropout, the sum with the residual, and layer norm, in one pass over the rows, and one more for the gradients.

With n the normalised row, (h - mean(h)) / std(h) of the sum h, and g the gradient of n, the gradient of h is
(g - mean(g) - n * mean(g * n)) / std(h). So the forward kernel keeps n and 1 / std(h) of each row, and nothing else.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from tunekit.engine.kernels.fused.launch import accumulator_type
from tunekit.engine.kernels.fused.masks import RUNTIME_ONLY, drop_rows, row_arguments
from tunekit.engine.kernels.fused.row_tiles import (
    RowTiles,
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
from tunekit.engine.kernels.masks import Dropout


@triton.jit(do_not_specialize=(*RUNTIME_ONLY, "rows"))
def _forward(
    x, residual, weight, bias, out, normalised, inverse_std, token_sequence, token_place, seeds, steps, part, eps,
    rows, columns, weight_stride, bias_stride, site, dropping_levels, scale,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, OF_TOKENS: tl.constexpr, DROPOUT: tl.constexpr, KEEP: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Write layer_norm(dropout(x) + residual) for some rows, and with KEEP what the backward kernel needs."""
    row_in_trial, row, is_row, column, offset, exists = place_of_tile(rows, columns, ROWS, COLUMNS)
    total = tl.load(x + offset, exists, 0.0).to(ACC)
    if DROPOUT:
        total = drop_rows(
            total, row, row_in_trial, is_row, 0, token_sequence, token_place, seeds, steps, part, site, dropping_levels,
            scale, OF_TOKENS, COLUMNS,
        )  # fmt: skip
    total += tl.load(residual + offset, exists, 0.0).to(ACC)
    # The tile's columns after the last one hold 0, and must add nothing to the variance either.
    centred = tl.where(exists, total - (tl.sum(total, 1) / columns)[:, None], 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred, 1) / columns + eps)  # (ROWS,)
    normal = centred * inverse[:, None]
    own_weight = load_weight(weight, weight_stride, column, columns).to(ACC)
    own_bias = load_weight(bias, bias_stride, column, columns).to(ACC)
    normed = normal * own_weight[None, :] + own_bias[None, :]
    tl.store(out + offset, normed.to(out.dtype.element_ty), exists)
    if KEEP:
        tl.store(normalised + offset, normal.to(normalised.dtype.element_ty), exists)
        tl.store(inverse_std + row, inverse, is_row)


@triton.jit(do_not_specialize=(*RUNTIME_ONLY, "rows"))
def _backward(
    out_grad, normalised, inverse_std, weight, x_grad, residual_grad, sums, token_sequence, token_place, seeds, steps,
    part, rows, columns, weight_stride, site, dropping_levels, scale,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, OF_TOKENS: tl.constexpr, DROPOUT: tl.constexpr, TRAINED: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """Write the gradients of x and the residual for some rows, and with TRAINED the sums for weight and bias."""
    row_in_trial, row, is_row, column, offset, exists = place_of_tile(rows, columns, ROWS, COLUMNS)
    grad = tl.load(out_grad + offset, exists, 0.0).to(ACC)
    normal = tl.load(normalised + offset, exists, 0.0).to(ACC)
    inverse = tl.load(inverse_std + row, is_row, 0.0)
    if TRAINED:
        store_sum(sums, 0, grad * normal, column, columns)
        store_sum(sums, 1, grad, column, columns)
    own_weight = load_weight(weight, weight_stride, column, columns).to(ACC)
    scaled = grad * own_weight[None, :]  # the gradient of the normalised rows; 0 after the last column
    mean = tl.sum(scaled, 1) / columns
    along = tl.sum(scaled * normal, 1) / columns
    gradient = (scaled - mean[:, None] - normal * along[:, None]) * inverse[:, None]
    tl.store(residual_grad + offset, gradient.to(residual_grad.dtype.element_ty), exists)
    if DROPOUT:
        gradient = drop_rows(
            gradient, row, row_in_trial, is_row, 0, token_sequence, token_place, seeds, steps, part, site,
            dropping_levels, scale, OF_TOKENS, COLUMNS,
        )  # fmt: skip
    tl.store(x_grad + offset, gradient.to(x_grad.dtype.element_ty), exists)


class _ResidualNorm(torch.autograd.Function):
    """layer_norm(dropout(x) + residual), and the gradients of all four tensors, the weights' only where trained."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        residual: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        setting: "_Setting",
    ) -> torch.Tensor:
        out, normalised, inverse_std = torch.empty_like(residual), None, None
        if setting.keep:
            normalised = torch.empty_like(residual)
            inverse_std = torch.empty(x.shape[:-1].numel(), dtype=accumulator_type(residual), device=x.device)
        setting.start(
            _forward, residual, x, residual, weight, bias, out, normalised, inverse_std, eps=setting.eps,
            weight_stride=trial_stride(weight), bias_stride=trial_stride(bias), KEEP=setting.keep,
        )  # fmt: skip
        ctx.save_for_backward(normalised, inverse_std, weight, bias)
        ctx.setting, ctx.x_type = setting, x.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        normalised, inverse_std, weight, bias = ctx.saved_tensors
        out_grad = out_grad.contiguous()
        residual_grad = torch.empty_like(normalised)
        x_grad = torch.empty_like(normalised, dtype=ctx.x_type)
        sums = tile_sums(2, ctx.setting.tiles, normalised) if any(ctx.needs_input_grad[2:4]) else None
        ctx.setting.start(
            _backward, normalised, out_grad, normalised, inverse_std, weight, x_grad, residual_grad, sums,
            weight_stride=trial_stride(weight), TRAINED=sums is not None,
        )  # fmt: skip
        gradients = (None, None) if sums is None else weight_gradients(sums, weight, bias)
        return x_grad, residual_grad, *gradients, None


@dataclass(frozen=True)
class _Setting:
    """What both kernels get besides the tensors of a layer."""

    eps: float
    spec: Dropout | None
    tiles: RowTiles
    keep: bool
    """Whether gradients are asked for. In ``forward`` it is too late to ask whether they are recorded."""

    def start(self, kernel: Any, like: torch.Tensor, *tensors: torch.Tensor | None, **others: Any) -> None:
        """Start ``kernel``. ``like`` is a tensor of the type that decides the type of computation."""
        rows = row_arguments(self.spec, self.tiles.num_trials * self.tiles.rows)
        self.tiles.start(kernel, *tensors, like=like, DROPOUT=self.spec is not None, **rows, **others)


def dropout_residual_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    spec: Dropout | None,
) -> torch.Tensor:
    """Return what ``tunekit.engine.kernels.residual_norm.dropout_residual_norm`` does."""
    # The masks are each trial's own, even where the weights are shared.
    num_trials = trials_of(weight, bias) if spec is None else spec.sequences.num_trials
    tensors = [x.contiguous(), residual.contiguous(), weights_side_by_side(weight), weights_side_by_side(bias)]
    keep = torch.is_grad_enabled() and any(one.requires_grad for one in tensors)
    setting = _Setting(eps, spec, row_tiles(residual, num_trials, whole_rows=True), keep)
    normed: torch.Tensor = _ResidualNorm.apply(*tensors, setting)  # type: ignore[no-untyped-call]
    return normed
