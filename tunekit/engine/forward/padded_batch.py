"""Batches with padding, through a library's own forward pass: for what can't be trained without it.

Dropout draws from torch's global generator, seeded anew for each step by the trial's own stream.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.models.families import FAMILIES
from tunekit.seeding import stream_seed


@dataclass(frozen=True)
class PaddedBatch:
    """B sequences, the longest of L tokens."""

    input_ids: torch.Tensor
    """(B, L) int64"""
    attention_mask: torch.Tensor
    """(B, L) int64, 1 for a token and 0 for padding"""
    token_type_ids: torch.Tensor
    """(B, L) int64"""
    num_tokens: tuple[int, ...]
    """Real tokens, of the one trial."""

    @property
    def sequences(self) -> int:
        """B"""
        return len(self.input_ids)


def padded_batch(split: TokenisedSplit, indices: np.ndarray, *, pad_id: int, device: torch.device) -> PaddedBatch:
    """The sequences ``indices`` (B,) of ``split``."""
    lengths = split.lengths[indices]
    real = np.arange(lengths.max()) < lengths[:, None]
    source = (split.offsets[indices][:, None] + np.arange(lengths.max()))[real]

    def spread(values: np.ndarray, padding: int) -> torch.Tensor:
        rows = np.full(real.shape, padding, np.int64)
        rows[real] = values
        return torch.from_numpy(rows).to(device)

    return PaddedBatch(
        input_ids=spread(split.ids[source], pad_id),
        attention_mask=torch.from_numpy(real.astype(np.int64)).to(device),
        token_type_ids=spread(split.types[source], 0),
        num_tokens=(int(lengths.sum()),),
    )


def padded_logits(model: PreTrainedModel, batch: PaddedBatch) -> torch.Tensor:
    """Class logits (B, C)."""
    types = {"token_type_ids": batch.token_type_ids} if FAMILIES[model.config.model_type].token_types else {}
    return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **types).logits


@contextmanager
def dropout_of(seed: int, device: torch.device, *names: int) -> Iterator[None]:
    """While entered, dropout on ``device`` is what ``names`` say, the step and the part of its batch, of ``seed``."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(seed, "dropout", *names))
        yield
