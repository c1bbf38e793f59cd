"""Packed rows hold exactly the batch's sequences, kept apart."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.packing import fill_rows, pack

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@given(LENGTHS)
def test_rows_never_overlap_nor_overflow(lengths):
    capacity = max(lengths)
    rows, starts, num_rows = fill_rows(lengths, capacity)
    taken = np.zeros((num_rows, capacity), int)
    for row, first, length in zip(rows, starts, lengths, strict=True):
        taken[row, first : first + length] += 1
    assert taken.max() == 1
    assert taken.sum() == sum(lengths)
    assert num_rows <= len(lengths)


@given(LENGTHS, st.integers(0, 2), st.randoms(use_true_random=False))
def test_each_sequence_is_whole_and_sees_only_itself(lengths, offset, random):
    ids = np.arange(100, 100 + sum(lengths), dtype=np.int32)
    split = TokenisedSplit(ids, np.zeros_like(ids, np.int8), np.concatenate([[0], np.cumsum(lengths)]), 0)
    indices = np.array(random.sample(range(len(lengths)), len(lengths)))
    batch = pack(split, indices, pad_id=1, position_offset=offset, device=torch.device("cpu"))
    width = batch.input_ids.shape[1]
    assert batch.num_tokens == sum(lengths)
    for index, first in zip(indices, batch.first.tolist(), strict=True):
        row, start = divmod(first, width)
        stop = start + lengths[index]
        expected = ids[split.offsets[index] : split.offsets[index + 1]]
        assert batch.input_ids[row, start:stop].tolist() == expected.tolist()
        assert batch.position_ids[row, start:stop].tolist() == list(range(offset, offset + lengths[index]))
        seen = batch.attention_mask[row, start:stop]
        assert seen[:, start:stop].all()
        assert seen.sum() == lengths[index] ** 2
