"""Batches without padding: the sequences of a batch end to end, and where attention finds each of them.

A batch holds exactly the examples of the padded batch. Linear modules, norms and embeddings see one row of tokens a
trial; attention sees the sequences in a few groups of like lengths, padded to the longest of their group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from tunekit.data.tokens import TokenisedSplit
from tunekit.memory.length_groups import group_bounds

ALIGNED = 4
"""Parts of a flat tensor begin at multiples of so many numbers: CUDA's kernels read 16 bytes at a time."""


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

    def to(self, device: torch.device) -> "FlatBatch":
        """The batch on ``device``: one copy a type of number, not one a tensor."""
        if device.type == "cpu":
            return self
        held = [part for part in (self, *self.groups) for part in vars(part).values() if isinstance(part, torch.Tensor)]
        moved: dict[int, torch.Tensor] = {}
        for dtype in (torch.int64, torch.float32):
            tensors = [tensor for tensor in held if tensor.dtype == dtype]
            if tensors:
                sizes = [aligned(tensor.numel()) for tensor in tensors]
                flat = torch.zeros(sum(sizes), dtype=dtype, pin_memory=device.type == "cuda")
                for one, place in zip(tensors, flat.split(sizes), strict=True):
                    place[: one.numel()] = one.flatten()
                parts = flat.to(device, non_blocking=True).split(sizes)
                moved |= {
                    id(one): part[: one.numel()].view(one.shape) for one, part in zip(tensors, parts, strict=True)
                }

        def renewed(part: Any) -> Any:
            return replace(part, **{name: moved[id(v)] for name, v in vars(part).items() if id(v) in moved})

        return replace(renewed(self), groups=tuple(renewed(group) for group in self.groups))


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
    starts = np.cumsum(lengths, axis=1) - lengths + width * np.arange(num_trials)[:, None]
    within = _within(lengths.ravel())
    target = np.repeat(starts.ravel(), lengths.ravel()) + within  # place of each real token among the K * T
    source = np.repeat(offsets.ravel(), lengths.ravel()) + within  # and in its split
    sources = np.split(source, np.cumsum(totals)[:-1])
    is_token = np.zeros(num_trials * width, bool)
    is_token[target] = True

    def spread(values: np.ndarray, padding: int) -> torch.Tensor:
        flat = np.full(num_trials * width, padding, np.int64)
        flat[target] = values
        return torch.from_numpy(flat.reshape(num_trials, width))

    order = np.argsort(-lengths.ravel(), kind="stable")
    groups, slot_rows, token_rows, real_slots = _grouped(
        lengths.ravel(), starts.ravel(), order, heads=heads, num_places=num_trials * width, pairs=pairs,
        gpu=device.type == "cuda",
    )  # fmt: skip
    # Padding takes its attention from its own trial's last token, so that no trial's numbers reach another's.
    last = np.repeat(np.arange(num_trials) * width + totals - 1, width)
    token_rows = np.where(is_token[:, None], token_rows, token_rows[last])
    ids, types = (
        np.concatenate([getattr(split, name)[at] for (split, _), at in zip(parts, sources, strict=True)])
        for name in ("ids", "types")
    )
    batch = FlatBatch(
        input_ids=spread(ids, pad_id),
        token_type_ids=spread(types, 0),
        position_ids=spread(within + position_offset, position_offset),
        first=torch.from_numpy(starts.ravel()),
        order=torch.from_numpy(order),
        places=torch.from_numpy(np.argsort(order, kind="stable")),
        groups=groups,
        slot_rows=torch.from_numpy(slot_rows),
        token_rows=torch.from_numpy(token_rows.ravel()),
        real_slots=_column_of(real_slots),
        real_tokens=_column_of(np.repeat(is_token, heads)),
        num_tokens=tuple(int(total) for total in totals),
        num_pairs=tuple(int(total) for total in (lengths**2).sum(axis=1)),
        sequences=lengths.shape[1],
    )
    return batch.to(device)


def aligned(size: int) -> int:
    """The least multiple of ALIGNED that holds ``size`` numbers."""
    return -(-size // ALIGNED) * ALIGNED


def _within(lengths: np.ndarray) -> np.ndarray:
    """Each token's number in its sequence, for sequences of ``lengths`` (N,) end to end."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _column_of(real: np.ndarray) -> torch.Tensor | None:
    """What is real as a column of 0 and 1; None where all is."""
    return None if real.all() else torch.from_numpy(real.astype(np.float32)[:, None])


def _grouped(
    lengths: np.ndarray, starts: np.ndarray, order: np.ndarray, *, heads: int, num_places: int, pairs: bool, gpu: bool
) -> tuple[tuple[Group, ...], np.ndarray, np.ndarray, np.ndarray]:
    """The groups of sequences of ``lengths`` (N,) that begin at ``starts`` (N,) among ``num_places``.

    Returns them with ``slot_rows``, ``token_rows`` (num_places, heads; of real tokens only) and which slot rows are
    real.
    """
    squares = lengths**2
    pair_starts = np.cumsum(squares) - squares
    each_head, row = np.arange(heads), 0
    token_rows = np.zeros((num_places, heads), np.int64)
    groups, slot_rows, real_slots = [], [], []
    for begin, end, longest in group_bounds(lengths[order], gpu=gpu):
        members = order[begin:end]
        place = np.minimum(np.arange(longest), lengths[members, None] - 1)  # (b, L)
        tokens = starts[members, None] + place
        real = np.arange(longest) < lengths[members, None]
        slots = row + (np.arange(len(members))[:, None, None] * heads + each_head) * longest  # (b, 1, heads)
        slots = slots + np.arange(longest)[None, :, None]  # (b, L, heads)
        token_rows[tokens[real]] = slots[real]
        slot_rows.append((tokens[:, None, :] * heads + each_head[None, :, None]).ravel())
        real_slots.append(np.repeat(real[:, None, :], heads, axis=1).ravel())
        found = pair_starts[members, None, None] + place[:, :, None] * lengths[members, None, None] + place[:, None, :]
        bias = np.where(real, np.float32(0), np.finfo(np.float32).min)[:, None, None, :]
        groups.append(
            Group(
                sequences=len(members),
                rows=slots.size,
                length=longest,
                bias=None if real.all() else torch.from_numpy(bias),
                tokens=torch.from_numpy(tokens),
                pairs=torch.from_numpy(found) if pairs else None,
            )
        )
        row += slots.size
    return tuple(groups), np.concatenate(slot_rows), token_rows, np.concatenate(real_slots)
