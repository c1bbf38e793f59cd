"""Small batches on which the kernels of an operation are compared with its twin (``tunekit.engine.kernels.choice``)."""

import torch

from tunekit.engine.kernels.batch import Sequences
from tunekit.engine.kernels.choice import Setting
from tunekit.engine.kernels.masks import LEVELS, Dropout, DropoutKeys, seed_words

LENGTHS = ((1, 33, 5), (40, 7, 70))
"""Of the sequences of two trials: one token, some less and some more than a block, and three blocks."""
NUM_TOKENS = 128


def example_sequences(setting: Setting) -> Sequences:
    """Return a batch of two trials, with filler."""
    return Sequences.end_to_end(LENGTHS, NUM_TOKENS, setting.device)


def example_dropout(sequences: Sequences) -> Dropout:
    """Return a use of dropout that drops half of all entries, with a seed of more than 32 bits."""
    device = sequences.starts.device
    seeds, steps = seed_words([2**62 + 1, 3]), torch.tensor([5, 70_000], dtype=torch.int32)
    keys = DropoutKeys(seeds.to(device), steps.to(device), torch.ones(1, dtype=torch.int32, device=device))
    return Dropout(3, LEVELS // 2, keys, sequences)


def example_tensor(setting: Setting, *shape: int, seed: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return random numbers, the same on any device, of the setting's type or of ``dtype``, which require gradients."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(setting.device, dtype or setting.dtype).requires_grad_()


def both(sequences: Sequences) -> tuple[Dropout | None, Dropout | None]:
    """Return no dropout and dropout: kernels are compiled for each of the two."""
    return None, example_dropout(sequences)


def weight_type(setting: Setting) -> torch.dtype:
    """Return the type of weights and residuals in a model whose products are of the setting's type: fp32 or fp64."""
    return torch.promote_types(setting.dtype, torch.float32)
