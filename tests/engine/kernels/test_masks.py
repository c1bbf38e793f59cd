"""Masks are Philox's words, have the rate asked for, and depend on seed, step, site and place alone."""

from dataclasses import replace

import pytest
import torch

from tests.support.token_batches import dropout_of, keys_of, real_tokens, sequences_of
from tunekit.engine.kernels.masks import DRAWS, LEVELS, Dropout, DropoutKeys, draws, drop, philox, row_draws, seed_words

KNOWN_ANSWERS = [
    # Random123's kat_vectors for philox4x32 with 10 rounds: counter, key, answer.
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(int(word, 16)) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter, key, answer):
    assert philox(words(counter), words(key)) == words(answer)


def test_a_draw_is_the_half_of_a_word_that_the_documentation_names():
    sequences = sequences_of([[3, 5], [4, 4]])
    dropout = dropout_of(sequences, 0.1, site=9, step=2**31 - 1)
    drawn = row_draws(dropout, len(sequences.token_sequence), 21)
    token = sequences.num_tokens + 5  # the second trial, its second sequence, place 1
    seed = 2**62 + 12
    key = torch.tensor(seed & 2**32 - 1), torch.tensor(seed >> 32)
    for column in range(21):
        counter = tuple(map(torch.tensor, (1 << 16 | column // 8, 1 << 16, 9 << 16, 2**31 - 1)))
        word = philox(counter, key)[column % 8 // 2]
        assert drawn[token, column] == (word >> 16 if column % 2 else word & 0xFFFF)


def test_seeds_of_64_bits_are_kept():
    seeds = [0, 1, 2**31, 2**32, 2**63 - 1, 2**64 - 1]
    low, high = (column.to(torch.int64) & 2**32 - 1 for column in seed_words(seeds).T)
    assert [int(one) | int(two) << 32 for one, two in zip(low, high, strict=True)] == seeds


@pytest.mark.parametrize("rate", [0.1, 0.5, 1e-4])
def test_as_many_entries_are_dropped_as_the_rate_says(rate):
    sequences = sequences_of([[60] * 20] * 2, filler=0)
    dropout = dropout_of(sequences, rate)
    kept = row_draws(dropout, 2400, 400) >= dropout.dropping_levels
    expected = dropout.dropping_levels / LEVELS
    error = (expected * (1 - expected) / kept.numel()) ** 0.5
    assert abs((~kept).double().mean().item() - expected) < 4 * error
    assert kept.numel() > 100 * DRAWS


def test_draws_use_all_levels_and_are_not_correlated_between_neighbours():
    sequences = sequences_of([[50] * 20], filler=0)
    drawn = row_draws(dropout_of(sequences, 0.1), 1000, 400).double()
    assert drawn.min() < 10
    assert drawn.max() > LEVELS - 10
    for one, two in [(drawn[:, 1:], drawn[:, :-1]), (drawn[1:], drawn[:-1]), (drawn[:, 8:], drawn[:, :-8])]:
        assert abs(torch.corrcoef(torch.stack((one.flatten(), two.flatten())))[0, 1]) < 4 / one.numel() ** 0.5


def test_a_trial_has_the_same_draws_alone_in_any_slot_and_with_any_filler():
    mine, other = [5, 1, 9], [2, 30, 4]
    alone = sequences_of([mine], filler=1)
    pack = sequences_of([other, mine], filler=40)
    tokens = row_draws(dropout_of(alone, 0.1, seed=71), len(alone.token_sequence), 40)[real_tokens(alone)]
    in_pack = row_draws(dropout_of(pack, 0.1, seed=70), len(pack.token_sequence), 40)[pack.num_tokens :]
    assert torch.equal(tokens, in_pack[: sum(mine)])
    firsts = row_draws(dropout_of(pack, 0.1, seed=70), 6, 40)[3:]
    assert torch.equal(firsts, tokens[[0, 5, 6]]), "the row of a sequence is that of its first token"


@pytest.mark.parametrize("change", ["seed", "step", "site", "part", "sequence", "head", "place"])
def test_draws_change_with_everything_that_they_depend_on(change):
    sequences = sequences_of([[8, 8]])
    at = {name: torch.tensor([0]) for name in ("trial", "sequence", "head", "place")}
    settings = {"seed": 3, "step": 4, "part": 0, "site": 1}

    def drawn(at, settings) -> torch.Tensor:
        keys = keys_of([settings["seed"]], step=settings["step"], part=settings["part"])
        return draws(Dropout(settings["site"], 0, keys, sequences), **at, columns=64)

    changed = (
        drawn(at, settings | {change: 2}) if change in settings else drawn(at | {change: torch.tensor([1])}, settings)
    )
    assert (drawn(at, settings) == changed).double().mean() < 0.1


def test_what_stays_is_scaled():
    sequences = sequences_of([[2]], filler=1)
    dropout = dropout_of(sequences, 0.25)
    x = torch.tensor([[1.0, 2.0, 3.0]])
    drawn = torch.tensor([[0, dropout.dropping_levels - 1, dropout.dropping_levels]])
    assert drop(x, dropout, drawn).tolist() == [[0.0, 0.0, 4.0]]


def test_keys_and_uses_out_of_range_are_refused():
    sequences = sequences_of([[2], [3]])
    keys = keys_of([1, 2])
    with pytest.raises(ValueError, match="seeds of 2 trials"):
        DropoutKeys(keys.seeds[:1], keys.steps, keys.part)
    with pytest.raises(ValueError, match="part of 2 trials"):
        replace(keys, part=keys.part.long())
    for site, levels in [(-1, 0), (2**16, 0), (0, LEVELS), (0, -1)]:
        with pytest.raises(ValueError, match="out of range"):
            Dropout(site, levels, keys, sequences)
    with pytest.raises(ValueError, match="keys of 1 trials for a batch of 2"):
        Dropout(0, 0, keys_of([1]), sequences)
