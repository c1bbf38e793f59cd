"""Flat batches hold exactly the batch's sequences, and attention finds each of them alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward.flat_batch import flat_batch
from tunekit.memory.length_groups import GROUPS, group_bounds

HEADS = 2
TRIALS = st.integers(1, 12).flatmap(
    lambda size: st.lists(st.lists(st.integers(1, 9), min_size=size, max_size=size), min_size=1, max_size=3)
)


def splits_of(lengths: list[list[int]]) -> list[tuple[TokenisedSplit, np.ndarray]]:
    """A split a trial; every token has an id of its own."""
    parts, begin = [], 100
    for trial in lengths:
        ids = np.arange(begin, begin + sum(trial), dtype=np.int32)
        begin += sum(trial)
        offsets = np.concatenate([[0], np.cumsum(trial)])
        parts.append((TokenisedSplit(ids, (ids % 2).astype(np.int8), offsets, 0), np.arange(len(trial))[::-1].copy()))
    return parts


def batch_of(lengths: list[list[int]], offset: int = 0):
    parts = splits_of(lengths)
    return parts, flat_batch(parts, heads=HEADS, pad_id=1, position_offset=offset, with_pairs=True)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=400))
def test_groups_cover_all_sequences_once_and_hold_the_longest(lengths):
    falling = np.sort(lengths)[::-1]
    bounds = group_bounds(falling)
    assert [begin for begin, _, _ in bounds] == [0, *(end for _, end, _ in bounds[:-1])]
    assert bounds[-1][1] == len(lengths)
    assert len(bounds) <= GROUPS
    assert all(longest == falling[begin:end].max() for begin, end, longest in bounds)


@given(TRIALS, st.integers(0, 2))
def test_each_sequence_is_whole_and_at_its_trial(lengths, offset):
    parts, batch = batch_of(lengths, offset)
    flat = batch.input_ids.flatten()
    width = batch.input_ids.shape[1]
    firsts = iter(batch.first_tokens.tolist())
    for trial, (split, indices) in enumerate(parts):
        assert batch.num_tokens[trial] == split.lengths.sum()
        assert batch.num_pairs[trial] == (split.lengths**2).sum()
        for index in indices:
            begin, expected = next(firsts), split.ids[split.offsets[index] : split.offsets[index + 1]]
            assert begin // width == trial
            stop = begin + len(expected)
            assert flat[begin:stop].tolist() == expected.tolist()
            assert batch.position_ids.flatten()[begin:stop].tolist() == list(range(offset, offset + len(expected)))
            assert batch.token_type_ids.flatten()[begin:stop].tolist() == (expected % 2).tolist()
        assert (batch.input_ids[trial, batch.num_tokens[trial] :] == 1).all()


@given(TRIALS)
def test_attention_sees_each_sequence_alone_and_every_token_gets_its_own_slot(lengths):
    parts, batch = batch_of(lengths)
    ids = batch.input_ids.flatten()
    by_head = torch.stack([ids * HEADS + head for head in range(HEADS)], dim=1).flatten()
    slots = by_head.index_select(0, batch.slot_to_token)
    whole = {tuple(split.ids[split.offsets[i] : split.offsets[i + 1]]) for split, at in parts for i in at}
    seen = []
    for group, held in zip(batch.groups, slots.split([group.num_rows for group in batch.groups]), strict=True):
        held = held.view(group.num_sequences, HEADS, group.length)
        for row, sequence in enumerate(held):
            real = (
                torch.ones(group.length, dtype=torch.bool)
                if group.padding_bias is None
                else group.padding_bias[row, 0, 0] == 0
            )
            own = (sequence[0][real] // HEADS).tolist()
            assert tuple(own) in whole
            assert set((sequence // HEADS).flatten().tolist()) <= set(own), "padding must be of the same sequence"
            seen.append(tuple(own))
    assert sorted(seen) == sorted(whole)
    assert len(seen) == len(batch.first_tokens)
    # Back at the tokens, each real one has what its own slot held.
    back = slots.index_select(0, batch.token_to_slot)
    real = torch.ones(len(back), dtype=torch.bool) if batch.token_is_real is None else batch.token_is_real[:, 0] == 1
    assert torch.equal(back[real], by_head[real])
    width = batch.input_ids.shape[1]
    trials = torch.tensor([next(k for k, (s, _) in enumerate(parts) if i in s.ids) for i in (back // HEADS).tolist()])
    assert torch.equal(trials, torch.arange(len(back)) // (width * HEADS)), "a trial's padding takes from itself"


@given(TRIALS)
def test_pairs_are_numbered_in_the_order_of_the_trial_whatever_the_pack(lengths):
    _, batch = batch_of(lengths)
    found = {}
    orders = batch.length_order.split([group.num_sequences for group in batch.groups])
    for group, order in zip(batch.groups, orders, strict=True):
        for row, sequence in enumerate(order.tolist()):
            found[sequence] = torch.unique(group.pair_index[row]).tolist()
    begin = 0
    for trial in lengths:
        for length in trial[::-1]:
            sequence = len([s for s in found if found[s][0] < begin])
            assert found[sequence] == list(range(begin, begin + length**2))
            begin += length**2


def test_one_length_needs_no_padding():
    _, batch = batch_of([[5] * 16])
    assert len(batch.groups) == 1
    assert batch.groups[0].padding_bias is None
    assert batch.slot_is_real is None
    assert batch.token_is_real is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_sequences_make_one_group(count):
    assert len(group_bounds(np.arange(count, 0, -1))) == 1
