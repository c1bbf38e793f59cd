"""The tiles of operations on rows: some rows of one trial, and all or some of their columns.

The kernels' grid is (blocks of rows of a trial, K, blocks of columns), so that no tile holds rows of two trials. Where
each trial has weights of its own, a tile reads those of its trial; and the sum over a tile's rows, for the gradient of
weights, is a sum over one trial's.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from tunekit.engine.kernels.fused.launch import accumulator, accumulator_type, on_device, tile_width

NUMBERS = 4096
"""The numbers of a tile. Its 128 threads have 32 of each tensor then: enough loads under way at once to keep the
memory busy, and with the three tensors and the draws of the largest kernel still fewer than 255 registers a thread.
About 1,000 tokens of 384 columns make 128 tiles, and an H100 has 132 multiprocessors."""
NUM_WARPS = 4
"""Of 32 threads each."""


@dataclass(frozen=True)
class RowTiles:
    """How the rows of a tensor are cut into tiles."""

    num_trials: int
    rows: int
    """The rows of each trial."""
    columns: int
    tile_columns: int
    """A power of two."""

    @property
    def tile_rows(self) -> int:
        """The rows of a tile, a power of two."""
        return max(1, NUMBERS // self.tile_columns)

    @property
    def blocks(self) -> int:
        """The blocks of rows of each trial."""
        return -(-self.rows // self.tile_rows)

    @property
    def grid(self) -> tuple[int, int, int]:
        """The programs of a kernel."""
        return self.blocks, self.num_trials, -(-self.columns // self.tile_columns)

    def start(self, kernel: Any, *tensors: torch.Tensor | None, like: torch.Tensor, **own: Any) -> None:
        """Start ``kernel``, which computes in ``accumulator(like)``, with ``tensors`` and its ``own`` arguments."""
        with on_device(like):
            kernel[self.grid](
                *tensors, rows=self.rows, columns=self.columns, ROWS=self.tile_rows, COLUMNS=self.tile_columns,
                ACC=accumulator(like), num_warps=NUM_WARPS, **own,
            )  # fmt: skip


def row_tiles(x: torch.Tensor, num_trials: int, *, whole_rows: bool) -> RowTiles:
    """Return the tiles of ``x`` (..., columns), the rows of one trial after another.

    With ``whole_rows`` a tile has all columns of its rows, else 128 of them.
    """
    columns = x.shape[-1]
    rows = x.numel() // columns // num_trials
    return RowTiles(num_trials, rows, columns, tile_width(columns) if whole_rows else 128)


@triton.jit
def place_of_tile(rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return where the program's tile lies.

    These are the rows (ROWS,) counted within the trial, and those counted over all trials; which rows exist (ROWS,);
    the columns (COLUMNS,); the offsets (ROWS, COLUMNS) of the tile's numbers in a contiguous tensor; and which of them
    exist (ROWS, COLUMNS).
    """
    row_in_trial = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row = tl.program_id(1) * rows + row_in_trial
    column = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    is_row = row_in_trial < rows
    offset = row.to(tl.int64)[:, None] * columns + column[None, :]
    return row_in_trial, row, is_row, column, offset, is_row[:, None] & (column < columns)[None, :]


@triton.jit
def store_sum(sums, number, tile, column, columns):
    """Write the sum over a tile's rows into ``sums[number]`` of ``sums`` (n, K, blocks, columns)."""
    block = (number * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    tl.store(sums + block.to(tl.int64) * columns + column, tl.sum(tile, 0), column < columns)


@triton.jit(do_not_specialize=["blocks"])
def _add_up(sums, out, blocks, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, ACC: tl.constexpr):
    """Write, for some columns, the sum over the blocks of ``sums`` (m, blocks, columns) into ``out`` (m, columns)."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.program_id(1).to(tl.int64) * blocks
    total = tl.zeros((ROWS, COLUMNS), ACC)
    for begin in range(0, blocks, ROWS):
        block = begin + tl.arange(0, ROWS)
        address = sums + (first + block)[:, None] * columns + column[None, :]
        total += tl.load(address, (block < blocks)[:, None] & (column < columns)[None, :], 0.0)
    found = tl.sum(total, 0).to(out.dtype.element_ty)
    tl.store(out + tl.program_id(1) * columns + column, found, column < columns)


def tile_sums(number: int, tiles: RowTiles, x: torch.Tensor) -> torch.Tensor:
    """Return an empty tensor (number, K, blocks, columns) for ``store_sum``, of the type that kernels compute in."""
    shape = (number, tiles.num_trials, tiles.blocks, tiles.columns)
    return torch.empty(shape, dtype=accumulator_type(x), device=x.device)


def weight_gradients(sums: torch.Tensor, *weights: torch.Tensor) -> list[torch.Tensor | None]:
    """Return the gradients of n weights, each (K, columns) or (columns,), None for those that need none.

    ``sums`` (n, K, blocks, columns) are those of the tiles. This is the second stage of sums without atomics: it adds
    up the tiles' sums in a fixed order.
    """
    number, num_trials, blocks, columns = sums.shape
    by_trial = torch.empty((number, num_trials, columns), dtype=weights[0].dtype, device=sums.device)
    with on_device(sums):
        # 32 columns are the 128 bytes that a GPU reads at once; 32 rows give each of 128 threads 8 numbers.
        _add_up[(-(-columns // 32), number * num_trials)](
            sums, by_trial, blocks, columns, ROWS=32, COLUMNS=32, ACC=accumulator(sums), num_warps=NUM_WARPS
        )
    return [
        (own if weight.dim() == 2 else own.sum(0)) if weight.requires_grad else None
        for own, weight in zip(by_trial, weights, strict=True)
    ]


def trials_of(*weights: torch.Tensor | None) -> int:
    """Return K of weights (K, columns); 1 where all are (columns,) or None."""
    return max((len(weight) for weight in weights if weight is not None and weight.dim() == 2), default=1)


def trial_stride(weight: torch.Tensor | None) -> int:
    """Return what lies between the weights of two trials: 0 where they share them."""
    return 0 if weight is None or weight.dim() == 1 else weight.stride(0)


@triton.jit
def load_weight(weight, stride, column, columns):
    """Return the numbers (COLUMNS,) of the program's trial. ``stride`` is that of ``trial_stride``."""
    # In int64, since the stride is that of a buffer of all weights of a trial.
    return tl.load(weight + tl.program_id(1).to(tl.int64) * stride + column, column < columns, 0.0)


def weights_side_by_side(weight: torch.Tensor) -> torch.Tensor:
    """Return ``weight``, copied only if a trial's numbers don't lie side by side. Trials may lie far apart."""
    return weight if weight.stride(-1) == 1 else weight.contiguous()
