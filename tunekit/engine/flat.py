"""Batches without padding: the sequences of a batch end to end, and where attention finds each of them.

A batch holds exactly the examples of the padded batch. Linear modules, norms and embeddings see one row of tokens a
trial; attention sees the sequences in a few groups of like lengths, padded to the longest of their group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tunekit.data.tokens import TokenisedSplit
from tunekit.grouping import group_bounds


@dataclass(frozen=True)
class Group:
    """b sequences of like lengths, the longest of L tokens, as attention sees them."""

    sequences: int
    """b"""
    rows: int
    """b * heads * L"""
    length: int
    """L"""
    bias: torch.Tensor | None
    """(b, 1, 1, L) fp32, 0 for a token and the lowest number for padding; None where all have L tokens."""
    tokens: torch.Tensor
    """(b, L) int64, index among the K * T tokens; padding points at its sequence's last token"""
    pairs: torch.Tensor | None
    """(b, L, L) int64, index of a query and key among all pairs of all sequences; None where not asked for."""


@dataclass(frozen=True)
class FlatBatch:
    """B sequences of each of K trials on one device; T is the most tokens that a trial has."""

    input_ids: torch.Tensor
    """(K, T) int64"""
    token_type_ids: torch.Tensor
    """(K, T) int64"""
    position_ids: torch.Tensor
    """(K, T) int64, from the model's first position in each sequence"""
    first: torch.Tensor
    """(K * B,) int64, index of each sequence's first token among the K * T"""
    order: torch.Tensor
    """(K * B,) int64, the sequences by falling length, as the groups hold them"""
    places: torch.Tensor
    """(K * B,) int64, each sequence's place in ``order``"""
    groups: tuple[Group, ...]
    slot_rows: torch.Tensor
    """(slots * heads,) int64, row among the K * T * heads of each group's (b, heads, L)"""
    token_rows: torch.Tensor
    """(K * T * heads,) int64, row among the slots of each token and head"""
    real_slots: torch.Tensor | None
    """(slots * heads, 1) fp32, 0 where a slot is padding; None where none is"""
    real_tokens: torch.Tensor | None
    """(K * T * heads, 1) fp32, 0 after a trial's last token; None where all have T tokens"""
    num_tokens: tuple[int, ...]
    """Real tokens of each trial."""
    num_pairs: tuple[int, ...]
    """Sum over each trial's sequences of their squared lengths."""
    sequences: int
    """B"""


def flat_batch(
    parts: Sequence[tuple[TokenisedSplit, np.ndarray]],
    *,
    heads: int,
    pad_id: int,
    position_offset: int,
    pairs: bool,
    device: torch.device,
) -> FlatBatch:
    """The sequences ``indices`` (B,) of each trial's split, for K = len(parts) trials of one model.

    ``position_offset`` is the id of a sequence's first position (RoBERTa: padding_idx + 1); ``pairs`` asks for the
    groups' indices of pairs.
    """
    offsets = np.stack([split.offsets[indices] for split, indices in parts])  # (K, B)
    lengths = np.stack([split.offsets[indices + 1] for split, indices in parts]) - offsets
    totals = lengths.sum(axis=1)
    num_trials, width = len(parts), int(totals.max())
    shape = (num_trials, width)
    starts = np.cumsum(lengths, axis=1) - lengths + width * np.arange(num_trials)[:, None]
    flat_lengths, flat_starts = lengths.ravel(), starts.ravel()
    sequence = np.repeat(np.arange(len(flat_lengths)), flat_lengths)  # of each real token
    within = np.arange(len(sequence)) - np.repeat(np.cumsum(flat_lengths) - flat_lengths, flat_lengths)
    target = flat_starts[sequence] + within
    source = np.repeat(offsets.ravel(), flat_lengths) + within
    ends = np.cumsum(totals)
    sources = [source[end - total : end] for end, total in zip(ends, totals, strict=True)]

    def to_device(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)

    def spread(values: np.ndarray, padding: int) -> torch.Tensor:
        flat = np.full(num_trials * width, padding, np.int64)
        flat[target] = values
        return to_device(flat.reshape(shape))

    order = np.argsort(-flat_lengths, kind="stable")
    squares = flat_lengths**2
    pair_starts = np.cumsum(squares) - squares
    groups, slot_rows, real_slots, row = [], [], [], 0
    token_rows = np.zeros((num_trials * width, heads), np.int64)
    each_head = np.arange(heads)
    for begin, end, longest in group_bounds(flat_lengths[order]):
        members = order[begin:end]
        place = np.minimum(np.arange(longest), flat_lengths[members, None] - 1)  # (b, L)
        tokens = flat_starts[members, None] + place
        real = np.arange(longest) < flat_lengths[members, None]
        slots = row + (np.arange(len(members))[:, None, None] * heads + each_head) * longest  # (b, 1, heads)
        slots = slots + np.arange(longest)[None, :, None]  # (b, L, heads)
        token_rows[tokens[real]] = slots[real]
        slot_rows.append((tokens[:, None, :] * heads + each_head[None, :, None]).ravel())
        real_slots.append(np.repeat(real[:, None, :], heads, axis=1).ravel())
        rows = len(members) * heads * longest
        bias = None
        if not real.all():
            bias = np.where(real, np.float32(0), np.finfo(np.float32).min)[:, None, None, :]
        found = None
        if pairs:
            found = pair_starts[members, None, None] + place[:, :, None] * flat_lengths[members, None, None]
            found = to_device(found + place[:, None, :])
        bias = None if bias is None else to_device(bias)
        groups.append(Group(len(members), rows, longest, bias, to_device(tokens), found))
        row += rows
    is_token = np.zeros(num_trials * width, bool)
    is_token[target] = True
    if not is_token.all():
        # Padding takes its attention from its own trial's last token, so that no trial's numbers reach another's.
        last = np.repeat(np.arange(num_trials) * width + totals - 1, width)
        token_rows = np.where(is_token[:, None], token_rows, token_rows[last])
    has_padding = not all(part.all() for part in real_slots)

    def as_column(real: np.ndarray) -> torch.Tensor:
        return to_device(real.astype(np.float32)[:, None])

    return FlatBatch(
        input_ids=spread(np.concatenate([part[0].ids[at] for part, at in zip(parts, sources, strict=True)]), pad_id),
        token_type_ids=spread(np.concatenate([part[0].types[at] for part, at in zip(parts, sources, strict=True)]), 0),
        position_ids=spread(within + position_offset, position_offset),
        first=to_device(flat_starts),
        order=to_device(order),
        places=to_device(np.argsort(order, kind="stable")),
        groups=tuple(groups),
        slot_rows=to_device(np.concatenate(slot_rows)),
        token_rows=to_device(token_rows.ravel()),
        real_slots=as_column(np.concatenate(real_slots)) if has_padding else None,
        real_tokens=None if is_token.all() else as_column(np.repeat(is_token, heads)),
        num_tokens=tuple(int(total) for total in totals),
        num_pairs=tuple(int(part) for part in squares.reshape(lengths.shape).sum(axis=1)),
        sequences=lengths.shape[1],
    )
