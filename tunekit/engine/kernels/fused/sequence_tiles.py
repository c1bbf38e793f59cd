"""The tiles of attention: blocks of rows of one head of one sequence, in tensors (tokens, A, D) of rows end to end.

The kernels' grid is (K * (B + 1), A, blocks). Its first axis counts, trial by trial, the B sequences and then one more:
the filler after the last of them, so that contexts and gradients of filler are written too. Its second axis is the
head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from tunekit.engine.kernels.batch import Sequences
from tunekit.engine.kernels.fused.launch import accumulator, on_device, tile_width
from tunekit.engine.kernels.fused.masks import mask_arguments
from tunekit.engine.kernels.masks import Dropout


@triton.jit
def span_of_program(starts, lengths, num_sequences, num_tokens):
    """Return the program's trial and sequence, and the first token and the number of tokens of the sequence.

    The sequence is B for filler.
    """
    trial = tl.program_id(0) // (num_sequences + 1)
    sequence = tl.program_id(0) % (num_sequences + 1)
    if sequence == num_sequences:
        last = trial * num_sequences + num_sequences - 1
        start = tl.load(starts + last) + tl.load(lengths + last)
        length = (trial + 1) * num_tokens - start
    else:
        start = tl.load(starts + trial * num_sequences + sequence)
        length = tl.load(lengths + trial * num_sequences + sequence)
    return trial, sequence, start, length


@triton.jit
def load_tile(x, start, place, length, stride, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Return the rows (R, BLOCK_D) of the program's head at the places (R,) of the sequence that begins at ``start``.

    The tile is 0 after the sequence's end, and from column D on. ``stride`` lies between the rows of ``x``.
    """
    column = tl.arange(0, BLOCK_D)
    # In int64, since a large tensor has more than 2**31 numbers.
    address = x + (start + place).to(tl.int64)[:, None] * stride + tl.program_id(1) * D + column[None, :]
    return tl.load(address, (place < length)[:, None] & (column < D)[None, :], 0.0)


@triton.jit
def load_block(x, y, start, first, length, x_stride, y_stride, D: tl.constexpr, BLOCK_D: tl.constexpr,
               BLOCK: tl.constexpr):  # fmt: skip
    """Return the BLOCK places from ``first`` on (BLOCK,), and the tiles (BLOCK, BLOCK_D) of ``x`` and ``y`` there."""
    place = first + tl.arange(0, BLOCK)
    x_tile = load_tile(x, start, place, length, x_stride, D, BLOCK_D)
    return place, x_tile, load_tile(y, start, place, length, y_stride, D, BLOCK_D)


@triton.jit
def store_tile(x, tile, start, place, length, stride, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Write a tile (R, BLOCK_D) where ``load_tile`` reads one, without what lies after the end or from column D on."""
    column = tl.arange(0, BLOCK_D)
    address = x + (start + place).to(tl.int64)[:, None] * stride + tl.program_id(1) * D + column[None, :]
    tl.store(address, tile.to(x.dtype.element_ty), (place < length)[:, None] & (column < D)[None, :])


@triton.jit
def clear_filler(x, start, length, stride, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr):
    """Write 0 into the program's head of the ``length`` tokens of filler. The programs of the third axis share them."""
    zero = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for first in range(tl.program_id(2) * BLOCK, length, tl.num_programs(2) * BLOCK):
        store_tile(x, zero, start, first + tl.arange(0, BLOCK), length, stride, D, BLOCK_D)


@dataclass(frozen=True)
class Batch:
    """What all kernels of one use of attention are started with, besides the tensors of the layer."""

    sequences: Sequences
    dropout: Dropout | None
    blocks: int
    """The programs for each sequence, and for filler, and head."""
    settings: Mapping[str, Any]
    """The arguments in capitals, and Triton's own settings, that the kernels share."""

    def start(
        self, kernel: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *others: torch.Tensor, **own: Any
    ) -> None:
        """Start ``kernel``, which gets ``others`` after queries, keys and values (rows, A, D), and its ``own``."""
        sequences, (_, heads, head_size) = self.sequences, q.shape
        with on_device(q):
            kernel[sequences.num_trials * (sequences.num_sequences + 1), heads, self.blocks](
                q, k, v, *others, sequences.starts, sequences.lengths, q_stride=q.stride(0), k_stride=k.stride(0),
                v_stride=v.stride(0), num_sequences=sequences.num_sequences, num_tokens=sequences.num_tokens,
                **mask_arguments(self.dropout), D=head_size, BLOCK_D=tile_width(head_size),
                DROPOUT=self.dropout is not None, ACC=accumulator(q), **self.settings, **own,
            )  # fmt: skip


def rows_of_heads(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` (rows, A, D), copied only if the numbers of a row don't lie side by side."""
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()


def rows_side_by_side(number: int, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return empty tensors like ``x`` (rows, A, D), each row of one beside the same row of the next.

    Gradients that lie so are joined without a copy (``tunekit.engine.forward.joint_linear``).
    """
    rows, heads, head_size = x.shape
    return torch.empty((rows, number, heads, head_size), dtype=x.dtype, device=x.device).unbind(1)
