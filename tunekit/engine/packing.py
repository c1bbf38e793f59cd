"""Batches without padding: sequences end to end in rows, kept apart by a block-diagonal attention mask.

A batch holds exactly the examples of the padded batch. Its rows are as long as its longest sequence, filled first-fit
in order of falling length, so that only the rows' ends are padding. Positions restart at each sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tunekit.data.tokens import TokenisedSplit


@dataclass(frozen=True)
class PackedBatch:
    """B sequences in R rows of L tokens, on one device."""

    input_ids: torch.Tensor
    """(R, L) int64"""
    token_type_ids: torch.Tensor
    """(R, L) int64"""
    position_ids: torch.Tensor
    """(R, L) int64"""
    attention_mask: torch.Tensor
    """(R, L, L) int64, 1 where row's token i may see token j: both of one sequence."""
    first: torch.Tensor
    """(B,) int64, index of each sequence's first token among the R * L."""
    num_tokens: int
    """Real tokens, padding not counted."""


def fill_rows(lengths: Sequence[int], capacity: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Place sequences in rows of ``capacity`` tokens by first-fit decreasing (Johnson, 1973).

    Returns (row of each sequence, its start in the row, number of rows), the first two of shape (B,).
    """
    rows, starts, used = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64), []
    for index in np.argsort(-np.asarray(lengths), kind="stable"):
        length = lengths[index]
        row = next((r for r, taken in enumerate(used) if taken + length <= capacity), None)
        if row is None:
            row = len(used)
            used.append(0)
        rows[index], starts[index] = row, used[row]
        used[row] += length
    return rows, starts, len(used)


def pack(
    split: TokenisedSplit, indices: np.ndarray, *, pad_id: int, position_offset: int, device: torch.device
) -> PackedBatch:
    """The sequences ``indices`` (B,) of ``split`` as one packed batch.

    ``position_offset`` is the id of a sequence's first position (RoBERTa: padding_idx + 1).
    """
    offsets = split.offsets[indices]
    lengths = split.offsets[indices + 1] - offsets
    width = int(lengths.max())
    rows, starts, num_rows = fill_rows(lengths.tolist(), width)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    source = np.repeat(offsets, lengths) + within
    first = rows * width + starts
    target = np.repeat(first, lengths) + within

    def spread(values: np.ndarray, padding: int) -> torch.Tensor:
        flat = np.full(num_rows * width, padding, np.int64)
        flat[target] = values
        return torch.from_numpy(flat.reshape(num_rows, width)).to(device, non_blocking=True)

    segments = spread(np.repeat(np.arange(1, len(indices) + 1), lengths), 0)
    return PackedBatch(
        input_ids=spread(split.ids[source], pad_id),
        token_type_ids=spread(split.types[source], 0),
        position_ids=spread(within + position_offset, 0),
        attention_mask=(segments[:, :, None] == segments[:, None, :]).long(),
        first=torch.from_numpy(first).to(device, non_blocking=True),
        num_tokens=int(lengths.sum()),
    )
