"""Both sides of a throughput ratio train the same rows to the same losses."""

import numpy as np
import pytest

from benchmarks.support.peers import grouped_order, train_peer
from benchmarks.support.trial import case_of, order_of, prepared_of, train_ours

STEPS, SIZE = 3, 8


class Turns:
    """A gate that opens a given number of times."""

    def __init__(self, turns: int) -> None:
        self.left, self.results = turns, []

    def wait(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def done(self, result: object) -> None:
        self.results.append(result)


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["p0", "p1"])
def test_a_peer_trains_what_we_train(peer):
    case = case_of("tiny-bert", "demo", "lora", rows=STEPS * SIZE, batch_size=SIZE, dropout=False)
    ours, theirs = Turns(2), Turns(2)
    train_ours(ours, case)
    train_peer(theirs, peer, case, STEPS)
    tokens = int(prepared_of(case).splits["train"].tokens.lengths.sum())
    assert [one.tokens for one in theirs.results] == [one.tokens for one in ours.results] == [tokens, tokens]
    for mine, other in zip(ours.results, theirs.results, strict=True):
        assert len(mine.losses) == STEPS
        np.testing.assert_allclose(mine.losses, other.losses, rtol=0, atol=1e-5)
    assert order_of(case, 1).tolist() != order_of(case, 2).tolist()


def test_grouped_batches_are_whole_differ_by_epoch_and_hold_like_lengths():
    case = case_of("tiny-bert", "demo", "lora", rows=None, batch_size=SIZE)
    order, lengths = grouped_order(case, STEPS), prepared_of(case).splits["train"].tokens.lengths
    assert len(set(order(1).tolist())) == STEPS * SIZE
    assert order(1).tolist() != order(2).tolist()

    def padding(rows: np.ndarray) -> float:
        found = lengths[rows].reshape(-1, SIZE)
        return found.max(axis=1).sum() * SIZE / found.sum()

    assert padding(order(1)) < padding(order_of(case, 1)[: STEPS * SIZE])
