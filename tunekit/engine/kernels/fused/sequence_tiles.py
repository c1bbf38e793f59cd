"""The tiles of attention: blocks of rows of one head of one sequence, in tensors (tokens, A, D) of rows end to end.

The kernels' grid is (K * (B + 1), A, blocks). Its first axis counts, trial by trial, the B sequences and then one more:
the filler after the last of them, so that contexts and gradients of filler are written too. Its second axis is the
head.
"""

import torch
import triton
import triton.language as tl

from tunekit.engine.kernels.batch import Sequences


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


def programs_of(sequences: Sequences, heads: int, blocks: int) -> tuple[int, int, int]:
    """Return the grid of a kernel that gives each sequence and head ``blocks`` programs."""
    return sequences.num_trials * (sequences.num_sequences + 1), heads, blocks


def rows_of_heads(x: torch.Tensor) -> torch.Tensor:
    """Return ``x`` (rows, A, D), copied only if the numbers of a row don't lie side by side."""
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()
