"""Dropout of rows. Its gradient is dropout of the gradient, with the mask computed again."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from tunekit.engine.kernels.fused.masks import RUNTIME_ONLY, drop_rows, row_arguments
from tunekit.engine.kernels.fused.row_tiles import place_of_tile, row_tiles
from tunekit.engine.kernels.masks import Dropout


@triton.jit(do_not_specialize=(*RUNTIME_ONLY, "rows"))
def _drop(
    x, out, token_sequence, token_place, seeds, steps, part, rows, columns, site, dropping_levels, scale,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, OF_TOKENS: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write dropout(x) for one tile."""
    row_in_trial, row, is_row, column, offset, exists = place_of_tile(rows, columns, ROWS, COLUMNS)
    values = drop_rows(
        tl.load(x + offset, exists, 0.0).to(ACC), row, row_in_trial, is_row, tl.program_id(2) * COLUMNS, token_sequence,
        token_place, seeds, steps, part, site, dropping_levels, scale, OF_TOKENS, COLUMNS,
    )  # fmt: skip
    tl.store(out + offset, values.to(out.dtype.element_ty), exists)


class _Dropout(torch.autograd.Function):
    """Dropout of rows, and of the gradient's rows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, spec: Dropout) -> torch.Tensor:
        ctx.spec = spec
        return _dropped(x, spec)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _dropped(grad, ctx.spec), None


def _dropped(x: torch.Tensor, spec: Dropout) -> torch.Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    tiles = row_tiles(x, spec.sequences.num_trials, whole_rows=False)
    tiles.start(_drop, x, out, like=x, **row_arguments(spec, tiles.num_trials * tiles.rows))
    return out


def dropout(x: torch.Tensor, spec: Dropout) -> torch.Tensor:
    """Return what ``tunekit.engine.kernels.dropout.dropout`` does."""
    dropped: torch.Tensor = _Dropout.apply(x, spec)  # type: ignore[no-untyped-call]
    return dropped
