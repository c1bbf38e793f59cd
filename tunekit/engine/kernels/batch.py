"""Where the sequences of a batch lie among its K * T tokens, in tensors of static shapes on the device.

Each of K trials has B sequences in a row of T tokens. The sequences lie end to end from the start of the row; what is
left of the row after the last one is filler. ``tunekit.engine.forward`` explains the words and letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch

LARGEST = 2**16 - 1
"""The largest place, sequence, head, site of dropout and part of a batch: a mask's counter has 16 bits for each."""


class Rows(NamedTuple):
    """The token that each of R rows of hidden states belongs to."""

    trial: torch.Tensor
    """(R,) int64, in 0..K-1."""
    sequence: torch.Tensor
    """(R,) int32, which of the trial's B sequences holds the token; B for filler."""
    place: torch.Tensor
    """(R,) int32, the token's place in its sequence."""


@dataclass(frozen=True)
class Sequences:
    """The tables of one batch. All tensors are int32 on the batch's device, and the host reads none of them."""

    num_trials: int
    """K."""
    longest: int
    """At least the length of the longest sequence. It fixes the number of programs that attention starts."""
    starts: torch.Tensor
    """(K * B,), the index of each sequence's first token among the K * T."""
    lengths: torch.Tensor
    """(K * B,), the number of tokens of each sequence, at least 1."""
    token_sequence: torch.Tensor
    """(K * T,), which of the B sequences of its trial each token belongs to; B for filler."""
    token_place: torch.Tensor
    """(K * T,), the place of each token in its sequence; for filler any number in 0..LARGEST."""

    def __post_init__(self) -> None:
        """Raise ValueError for tables whose sizes don't fit each other or the counters of masks."""
        tables = (self.starts, self.lengths, self.token_sequence, self.token_place)
        if any(table.dtype != torch.int32 or table.dim() != 1 or not table.is_contiguous() for table in tables):
            raise ValueError("the tables of a batch are contiguous vectors of int32")
        sizes = [len(table) for table in tables]
        if sizes[0] != sizes[1] or sizes[2] != sizes[3] or any(size % self.num_trials for size in sizes):
            raise ValueError(f"tables of sizes {sizes} don't describe a batch of {self.num_trials} trials")
        # Rows are told apart by their number, so that a batch has fewer sequences than tokens.
        if not self.num_sequences < self.num_tokens:
            raise ValueError(f"{self.num_sequences} sequences need more than {self.num_tokens} tokens")
        if max(self.num_sequences, self.longest) > LARGEST:
            raise ValueError(
                f"a batch has at most {LARGEST} sequences of at most {LARGEST} tokens, not {self.num_sequences} of "
                f"up to {self.longest}"
            )

    @classmethod
    def end_to_end(cls, lengths: Sequence[Sequence[int]], num_tokens: int, device: torch.device) -> Self:
        """Return the tables of K trials whose sequences have ``lengths``, in rows of ``num_tokens`` tokens (T).

        The host computes them, which serves tests and examples; a device computes those of a step itself.
        """
        starts, sequence, place = [], [], []
        for trial, own in enumerate(lengths):
            filler = num_tokens - sum(own)
            starts += [trial * num_tokens + sum(own[:index]) for index in range(len(own))]
            sequence += [index for index, length in enumerate((*own, filler)) for _ in range(length)]
            place += [at for length in (*own, filler) for at in range(length)]
        flat = [length for own in lengths for length in own]
        tables = (torch.tensor(table, dtype=torch.int32, device=device) for table in (starts, flat, sequence, place))
        return cls(len(lengths), max(flat), *tables)

    @property
    def num_sequences(self) -> int:
        """The sequences of each trial, B."""
        return len(self.starts) // self.num_trials

    @property
    def num_tokens(self) -> int:
        """The tokens of each trial's row, T."""
        return len(self.token_sequence) // self.num_trials

    def of_tokens(self, num_rows: int) -> bool:
        """Return whether ``num_rows`` rows belong to tokens (K * T of them) and not to sequences (K * B).

        Raises ValueError for any other number of rows.
        """
        if num_rows not in (len(self.token_sequence), len(self.starts)):
            raise ValueError(
                f"{num_rows} rows belong neither to {len(self.token_sequence)} tokens nor to {len(self.starts)} "
                "sequences"
            )
        return num_rows == len(self.token_sequence)

    def rows(self, num_rows: int) -> Rows:
        """Return the tokens that ``num_rows`` rows belong to. Raises ValueError as ``of_tokens`` does."""
        rows_of_trial = num_rows // self.num_trials
        index = torch.arange(num_rows, device=self.starts.device)
        if self.of_tokens(num_rows):
            return Rows(index // rows_of_trial, self.token_sequence, self.token_place)
        sequence = (index % rows_of_trial).to(torch.int32)
        return Rows(index // rows_of_trial, sequence, torch.zeros_like(sequence))
