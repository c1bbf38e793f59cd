"""Batches with padding, for the models and methods that can't be trained without it. They never train in a pack.

``padded_batch`` makes a batch of B sequences of one trial. ``padded_logits`` runs the library's own forward pass on it
and returns logits (B, C). Dropout then draws from torch's global generator. ``seeded_dropout`` seeds the generator from
the trial's seed, for each part of each step.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.models.families import FAMILIES
from tunekit.seeding import seeded, stream_seed


@dataclass(frozen=True)
class PaddedBatch:
    """B sequences of one trial, the longest of L tokens."""

    input_ids: torch.Tensor
    """(B, L) int64, the ids of the tokens; padding has the padding id."""
    attention_mask: torch.Tensor
    """(B, L) int64, 1 for a token and 0 for padding."""
    token_type_ids: torch.Tensor
    """(B, L) int64, the type ids of the tokens; padding has 0."""
    num_tokens: tuple[int, ...]
    """The number of tokens of the one trial, without padding. It is a tuple, as in ``FlatBatch``."""

    @property
    def num_sequences(self) -> int:
        """The number of sequences, B."""
        return len(self.input_ids)


def padded_batch(
    split: TokenisedSplit, indices: npt.NDArray[np.int64], *, pad_id: int, device: torch.device
) -> PaddedBatch:
    """Return the batch of the B sequences of ``split`` at ``indices``. Padding has the token id ``pad_id``."""
    lengths = split.lengths[indices]  # (B,)
    is_token = np.arange(lengths.max()) < lengths[:, None]  # (B, L)
    source = (split.offsets[indices][:, None] + np.arange(lengths.max()))[is_token]  # (N,), indices of tokens in split

    def spread(values: npt.NDArray[np.integer], padding: int) -> torch.Tensor:
        """Return the values (N,) of the tokens as (B, L), with the value ``padding`` for padding."""
        rows = np.full(is_token.shape, padding, np.int64)
        rows[is_token] = values
        return torch.from_numpy(rows).to(device)

    return PaddedBatch(
        input_ids=spread(split.ids[source], pad_id),
        attention_mask=torch.from_numpy(is_token.astype(np.int64)).to(device),
        token_type_ids=spread(split.types[source], 0),
        num_tokens=(int(lengths.sum()),),
    )


def padded_logits(model: PreTrainedModel, batch: PaddedBatch, *, of_words: bool = False) -> torch.Tensor:
    """Return the model's logits (B, C), or with ``of_words`` those of its N real tokens, (N, C)."""
    types = {"token_type_ids": batch.token_type_ids} if FAMILIES[model.config.model_type].token_types else {}
    logits: torch.Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **types).logits
    return logits[batch.attention_mask.bool()] if of_words else logits


def seeded_dropout(seed: int, device: torch.device, *names: int) -> AbstractContextManager[None]:
    """Return a context in which dropout on ``device`` draws from the random stream of ``seed`` and ``names``.

    ``seed`` is the trial's seed. ``names`` are the number of the step and the number of the part of the step's batch.
    The states of torch's generators are restored at the end.
    """
    return seeded(stream_seed(seed, "dropout", *names), device)
