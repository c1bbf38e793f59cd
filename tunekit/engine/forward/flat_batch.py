"""Batches without padding: the sequences of a trial lie end to end, and indices say where each of them lies.

``flat_batch`` takes sequences of tokens and returns a ``FlatBatch``, which holds the same examples as a padded batch of
the same sequences. Linear modules, layer norms and embeddings see one row of T tokens for each trial. Attention sees
the sequences in a few groups of similar lengths, each padded to the longest sequence of its group.
``tunekit.engine.forward`` explains the words and letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tunekit.data.tokens import TokenisedSplit
from tunekit.memory.length_groups import group_bounds

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """G sequences of similar lengths, the longest of L tokens, as attention sees them."""

    num_sequences: int
    """The sequences of the group, G."""
    num_rows: int
    """The number of the group's slot rows, G * A * L."""
    length: int
    """The tokens of the longest sequence, L."""
    padding_bias: torch.Tensor | None
    """(G, 1, 1, L) fp32, which is added to the attention scores: 0 for a token, and the lowest fp32 number for padding.
    None where the group has no padding."""
    token_index: torch.Tensor
    """(G, L) int64, the index of each slot's token among the K * T tokens. A slot of padding has the index of the last
    token of its sequence."""
    pair_index: torch.Tensor | None
    """(G, L, L) int64, the index of each pair (query, key) among the P pairs. None where ``with_pairs`` was False."""


@dataclass(frozen=True)
class FlatBatch:
    """B sequences of each of K trials, in rows of T tokens, one row for each trial."""

    input_ids: torch.Tensor
    """(K, T) int64, the ids of the tokens; filler has the padding id."""
    token_type_ids: torch.Tensor
    """(K, T) int64, the type ids of the tokens; filler has 0."""
    position_ids: torch.Tensor
    """(K, T) int64, the positions. Each sequence begins at the model's first position, which filler has, too."""
    first_tokens: torch.Tensor
    """(K * B,) int64, the index of each sequence's first token among the K * T."""
    length_order: torch.Tensor
    """(K * B,) int64, the indices of the sequences from the longest to the shortest: their order in the groups."""
    length_ranks: torch.Tensor
    """(K * B,) int64, the place of each sequence in ``length_order``, which is the inverse permutation."""
    groups: tuple[Group, ...]
    """The groups. The S * A slot rows lie one group after the other, and within a group as (G, A, L)."""
    slot_to_token: torch.Tensor
    """(S * A,) int64: entry i is the index, among the K * T * A token rows, of the row that slot row i copies."""
    token_to_slot: torch.Tensor
    """(K * T * A,) int64: entry i is the index, among the S * A slot rows, of the row that holds its copy. A row of
    filler has the index that the trial's last real token has."""
    slot_is_real: torch.Tensor | None
    """(S * A, 1) fp32, 1 for a slot row of a token and 0 for a slot row of padding. None where there is no padding."""
    token_is_real: torch.Tensor | None
    """(K * T * A, 1) fp32, 1 for a row of a real token and 0 for a row of filler. None where there is no filler."""
    num_tokens: tuple[int, ...]
    """The number of real tokens of each trial."""
    num_pairs: tuple[int, ...]
    """The number of pairs of each trial, which is the sum of the squared lengths of its sequences."""
    num_sequences: int
    """The sequences of each trial, B."""

    def to(self, device: torch.device) -> "FlatBatch":
        """Return the batch on ``device``."""
        groups = tuple(replace(group, **_tensors_on(device, group)) for group in self.groups)
        return replace(self, groups=groups, **_tensors_on(device, self))


def _tensors_on(device: torch.device, part: Any) -> dict[str, Any]:
    """Return those fields of a dataclass that hold tensors, on ``device``."""
    values = {item.name: getattr(part, item.name) for item in fields(part)}
    return {name: one.to(device) for name, one in values.items() if isinstance(one, torch.Tensor)}


def flat_batch(
    parts: Sequence[tuple[TokenisedSplit, Indices]],
    *,
    heads: int,
    pad_id: int,
    position_offset: int,
    with_pairs: bool,
) -> FlatBatch:
    """Return the batch of K = len(parts) trials of one model. A part is a trial's split and B indices into the split.

    ``heads`` is A. ``pad_id`` is the token id of filler. ``position_offset`` is the id of a sequence's first position
    (in RoBERTa the padding id + 1). ``with_pairs`` says whether the groups get a ``pair_index``, which only attention
    that drops probabilities needs.
    """
    offsets = np.stack([split.offsets[indices] for split, indices in parts])  # (K, B), where sequences begin in a split
    lengths = np.stack([split.offsets[indices + 1] for split, indices in parts]) - offsets  # (K, B)
    totals = lengths.sum(axis=1)  # (K,), real tokens of each trial
    num_trials, width = len(parts), int(totals.max())  # K, T
    # Where each sequence begins among the K * T tokens: after the trial's earlier sequences, in the trial's own row.
    starts = np.cumsum(lengths, axis=1) - lengths + width * np.arange(num_trials)[:, None]  # (K, B)
    # From here on the real tokens of all trials are counted together: there are N = totals.sum() of them. The K * T
    # tokens are these N and the filler.
    within = _index_in_sequence(lengths.ravel())  # (N,), a token's index in its sequence
    target = np.repeat(starts.ravel(), lengths.ravel()) + within  # (N,), its index among the K * T
    source = np.repeat(offsets.ravel(), lengths.ravel()) + within  # (N,), its index in its trial's split
    sources = np.split(source, np.cumsum(totals)[:-1])  # K arrays (totals[k],)
    is_token = np.zeros(num_trials * width, bool)  # (K * T,), False for filler
    is_token[target] = True

    def spread(values: npt.NDArray[Any], filler: int) -> torch.Tensor:
        """Return the values (N,) of the real tokens as (K, T), with the value ``filler`` for filler."""
        flat = np.full(num_trials * width, filler, np.int64)
        flat[target] = values
        return torch.from_numpy(flat.reshape(num_trials, width))

    length_order = np.argsort(-lengths.ravel(), kind="stable")  # (K * B,)
    groups, slot_to_token, token_to_slot, slot_is_real = _grouped(
        lengths.ravel(), starts.ravel(), length_order, heads=heads, num_tokens=num_trials * width,
        with_pairs=with_pairs,
    )  # fmt: skip
    # Filler copies the attention of the last real token of its own trial, so that it never copies another trial's.
    last = np.repeat(np.arange(num_trials) * width + totals - 1, width)  # (K * T,)
    token_to_slot = np.where(is_token[:, None], token_to_slot, token_to_slot[last])  # (K * T, A)
    ids, types = (
        np.concatenate([getattr(split, name)[at] for (split, _), at in zip(parts, sources, strict=True)])  # (N,)
        for name in ("ids", "types")
    )
    return FlatBatch(
        input_ids=spread(ids, pad_id),
        token_type_ids=spread(types, 0),
        position_ids=spread(within + position_offset, position_offset),
        first_tokens=torch.from_numpy(starts.ravel()),
        length_order=torch.from_numpy(length_order),
        length_ranks=torch.from_numpy(np.argsort(length_order, kind="stable")),  # argsort inverts a permutation
        groups=groups,
        slot_to_token=torch.from_numpy(slot_to_token),
        token_to_slot=torch.from_numpy(token_to_slot.ravel()),
        slot_is_real=_column_of(slot_is_real),
        token_is_real=_column_of(np.repeat(is_token, heads)),
        num_tokens=tuple(int(total) for total in totals),
        num_pairs=tuple(int(total) for total in (lengths**2).sum(axis=1)),
        num_sequences=lengths.shape[1],
    )


def _index_in_sequence(lengths: Indices) -> Indices:
    """Return each token's index in its sequence, for sequences of ``lengths`` end to end: (2, 3) gives 0 1 0 1 2."""
    within: Indices = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return within


def _column_of(is_real: Flags) -> torch.Tensor | None:
    """Return n flags as a column (n, 1) of 1 and 0 in fp32, or None where all flags are true."""
    return None if is_real.all() else torch.from_numpy(is_real.astype(np.float32)[:, None])


def _grouped(
    lengths: Indices, starts: Indices, length_order: Indices, *, heads: int, num_tokens: int, with_pairs: bool
) -> tuple[tuple[Group, ...], Indices, Indices, Flags]:  # fmt: skip
    """Put the K * B sequences into groups.

    ``lengths`` (K * B,) holds their lengths, and ``starts`` (K * B,) the index of the first token of each among the
    ``num_tokens`` = K * T tokens.

    Return the groups, ``slot_to_token`` (S * A,), ``token_to_slot`` (K * T, A), and whether each slot row is real
    (S * A,). ``token_to_slot`` is 0 for filler, which the caller replaces.
    """
    squares = lengths**2
    pair_starts = np.cumsum(squares) - squares  # (K * B,), the index of the first pair of each sequence
    each_head, first_row = np.arange(heads), 0  # first_row: the index of the first slot row of the group
    token_to_slot = np.zeros((num_tokens, heads), np.int64)
    groups, slot_to_token, slot_is_real = [], [], []
    for begin, end, longest in group_bounds(lengths[length_order].tolist()):
        members = length_order[begin:end]  # (G,), the group's sequences
        own = lengths[members, None]  # (G, 1)
        place = np.minimum(np.arange(longest), own - 1)  # (G, L), the slot's token in its sequence
        tokens = starts[members, None] + place  # (G, L), its index among the K * T
        is_real = np.arange(longest) < own  # (G, L)
        # The slot rows of a group lie as (G, A, L): row = first_row + (sequence * A + head) * L + place.
        rows = first_row + (np.arange(len(members))[:, None, None] * heads + each_head) * longest  # (G, 1, A)
        rows = rows + np.arange(longest)[None, :, None]  # (G, L, A)
        token_to_slot[tokens[is_real]] = rows[is_real]
        # Token rows lie as (K * T, A): row = token * A + head.
        slot_to_token.append((tokens[:, None, :] * heads + each_head[None, :, None]).ravel())  # (G, A, L), flat
        slot_is_real.append(np.repeat(is_real[:, None, :], heads, axis=1).ravel())  # (G, A, L), flat
        # The pairs of a sequence lie as (query, key): pair = start + query * own length + key.
        pairs = pair_starts[members, None, None] + place[:, :, None] * own[:, :, None] + place[:, None, :]  # (G, L, L)
        bias = np.where(is_real, np.float32(0), np.finfo(np.float32).min)[:, None, None, :]  # (G, 1, 1, L)
        groups.append(
            Group(
                num_sequences=len(members),
                num_rows=rows.size,
                length=longest,
                padding_bias=None if is_real.all() else torch.from_numpy(bias),
                token_index=torch.from_numpy(tokens),
                pair_index=torch.from_numpy(pairs) if with_pairs else None,
            )
        )
        first_row += rows.size
    return tuple(groups), np.concatenate(slot_to_token), token_to_slot, np.concatenate(slot_is_real)
