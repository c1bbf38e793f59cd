"""Batches that the device computes by itself from the indices of examples, by operations of static shapes.

A ``DeviceSplit`` holds a split on the device. ``DeviceSplit.batch`` returns the ``DeviceBatch`` of the examples that a
counter on the device points at. Its sizes B and T are those of a *bucket*, so that a CUDA graph of the step can be
replayed for each batch of the bucket. A trial's row has T tokens; those that its sequences leave free are filler.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.kernels.batch import Sequences
from tunekit.tasks.base import IGNORED


@dataclass(frozen=True)
class DeviceBatch:
    """B sequences of each of K trials, in rows of T tokens, on one device."""

    input_ids: torch.Tensor
    """(K, T) int64, the ids of the tokens; filler has the padding id."""
    token_type_ids: torch.Tensor
    """(K, T) int64, the type ids of the tokens; filler has 0."""
    position_ids: torch.Tensor
    """(K, T) int64, the positions. Each sequence begins at the model's first position, which filler has, too."""
    labels: torch.Tensor
    """(K * B,) or (K * B, C), the targets of the sequences; (K * T,) those of the tokens where words have labels."""
    sequences: Sequences
    """Where the sequences lie."""


class DeviceSplit:
    """A split of N examples on a device."""

    def __init__(
        self, tokens: TokenisedSplit, labels: npt.NDArray[np.generic], device: torch.device, *, pad_id: int,
        position_offset: int,
    ) -> None:  # fmt: skip
        """``pad_id`` is the token id of filler, and ``position_offset`` the id of a sequence's first position.

        ``labels`` are the targets of the sequences, or of all tokens where words have labels.
        """
        self.ids = torch.from_numpy(tokens.ids).to(device, torch.int64)
        self.types = torch.from_numpy(tokens.types).to(device, torch.int64)
        self.offsets = torch.from_numpy(tokens.offsets).to(device, torch.int64)  # (N + 1,)
        self.labels = torch.from_numpy(labels).to(device)  # (N,), (N, C) or (tokens of all examples,)
        self.of_words = tokens.words is not None
        self.longest = int(tokens.lengths.max())
        self.pad_id, self.position_offset = pad_id, position_offset

    def batch(self, order: torch.Tensor, begin: torch.Tensor, size: int, width: int) -> DeviceBatch:
        """Return the batch of the examples ``order[:, begin : begin + B]``, with B = ``size`` and T = ``width``.

        ``order`` (K, M) holds indices of examples of each trial, and ``begin`` is (1,) or a scalar, both int64 on the
        device. T must hold the tokens of any trial's examples.
        """
        num_trials, device = len(order), order.device
        rows = order.index_select(1, begin + torch.arange(size, device=device))  # (K, B)
        sources = self.offsets[rows]  # (K, B), where each sequence begins in the split
        lengths = self.offsets[rows + 1] - sources
        ends = lengths.cumsum(1)
        starts = ends - lengths  # (K, B), where each sequence begins in its trial's row
        token = torch.arange(width, device=device).expand(num_trials, -1).contiguous()  # (K, T)
        sequence = torch.searchsorted(ends, token, right=True)  # (K, T): how many sequences end before the token
        is_real = sequence < size
        own = sequence.clamp(max=size - 1)
        place = token - starts.gather(1, own)
        source = torch.where(is_real, sources.gather(1, own) + place, 0)
        if self.of_words:
            labels = torch.where(is_real, self.labels[source], IGNORED).flatten()
        else:
            labels = self.labels[rows].flatten(0, 1)
        return DeviceBatch(
            input_ids=torch.where(is_real, self.ids[source], self.pad_id),
            token_type_ids=torch.where(is_real, self.types[source], 0),
            position_ids=torch.where(is_real, place, 0) + self.position_offset,
            labels=labels,
            sequences=Sequences(
                num_trials=num_trials,
                longest=self.longest,
                starts=_table(starts + width * torch.arange(num_trials, device=device)[:, None]),
                lengths=_table(lengths),
                token_sequence=_table(sequence),
                token_place=_table(place),
            ),
        )


def _table(values: torch.Tensor) -> torch.Tensor:
    """Return the table of ``values`` as the kernels take it: one row in int32."""
    return values.flatten().to(torch.int32)
