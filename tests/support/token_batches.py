"""Batches without padding for the tests of kernels: tables of sequences, keys of dropout, and uses of it."""

from dataclasses import replace

import torch

from tunekit.engine.kernels.batch import Sequences
from tunekit.engine.kernels.masks import LEVELS, Dropout, DropoutKeys, seed_words


def sequences_of(lengths: list[list[int]], *, filler: int = 3, longest: int | None = None) -> Sequences:
    """Return the tables of K trials' sequences; the trial with the most tokens has ``filler`` tokens of filler."""
    width = max(sum(trial) for trial in lengths) + filler
    sequences = Sequences.end_to_end(lengths, width, torch.device("cpu"))
    return sequences if longest is None else replace(sequences, longest=longest)


def keys_of(seeds: list[int], *, step: int = 7, part: int = 0) -> DropoutKeys:
    """Return the keys of K trials, all at one step."""
    steps = torch.full((len(seeds),), step, dtype=torch.int32)
    return DropoutKeys(seed_words(seeds), steps, torch.tensor([part], dtype=torch.int32))


def dropout_of(sequences: Sequences, rate: float, *, site: int = 5, step: int = 7, seed: int = 2**62 + 11) -> Dropout:
    """Return a use of dropout in a batch, whose trials have the seeds ``seed``, ``seed + 1`` and so on."""
    keys = keys_of([seed + trial for trial in range(sequences.num_trials)], step=step)
    return Dropout(site, round(rate * LEVELS), keys, sequences)


def real_tokens(sequences: Sequences) -> torch.Tensor:
    """Return which of the K * T tokens are not filler."""
    return sequences.token_sequence < sequences.num_sequences
