"""The tables of a batch are checked where they are made."""

from dataclasses import replace

import pytest
import torch

from tests.support.token_batches import sequences_of


def test_rows_of_tokens_and_of_sequences():
    sequences = sequences_of([[2, 3], [4, 1]], filler=2)
    assert (sequences.num_sequences, sequences.num_tokens) == (2, 7)
    tokens = sequences.rows(14)
    assert tokens.trial.tolist() == [0] * 7 + [1] * 7
    assert tokens.sequence.tolist() == [0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 0, 1, 2, 2]
    assert tokens.place.tolist() == [0, 1, 0, 1, 2, 0, 1, 0, 1, 2, 3, 0, 0, 1]
    firsts = sequences.rows(4)
    assert [column.tolist() for column in firsts] == [[0, 0, 1, 1], [0, 1, 0, 1], [0] * 4]
    with pytest.raises(ValueError, match="5 rows belong neither to 14 tokens nor to 4 sequences"):
        sequences.rows(5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"starts": torch.zeros(4)}, "contiguous vectors of int32"),
        ({"lengths": torch.zeros(8, dtype=torch.int32)[::2]}, "contiguous vectors of int32"),
        ({"lengths": torch.zeros(5, dtype=torch.int32)}, r"sizes \[4, 5, 14, 14\]"),
        ({"num_trials": 3}, "of 3 trials"),
        ({"longest": 2**16}, "up to 65536"),
        ({name: torch.zeros(14, dtype=torch.int32) for name in ("starts", "lengths")}, "7 sequences need more than 7"),
    ],
)
def test_tables_that_fit_no_batch_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(sequences_of([[2, 3], [4, 1]], filler=2), **change)
