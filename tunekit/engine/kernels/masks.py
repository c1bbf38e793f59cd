"""Which entries dropout drops: a function of the trial's seed, the step and the entry's own place, and of nothing else.

A stored mask is not needed, since any entry can be computed wherever it is used, forward and backward. Since the
place is that in the entry's own sequence, a trial has the same masks alone and in a pack, in any slot of the pack, with
any filler, and after a resume.

The function is Philox-4x32 with 10 rounds (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"). It
turns a counter of four 32-bit words and a key of two into four random words:

- The key is the trial's seed of 64 bits, the lower word first.
- Counter word 0 is ``place << 16 | column // 8``: the place of the token in its sequence, and the column of its hidden
  state. For an attention probability it is the place of the query and that of the key.
- Counter word 1 is ``sequence << 16 | head``: which of the trial's B sequences, and the attention head, 0 for hidden
  states.
- Counter word 2 is ``site << 16 | part``: the number of the use of dropout in the forward pass, and that of the part of
  the batch (see ``tunekit.engine.train``).
- Counter word 3 is the step.

The four random words are eight draws of 16 bits, for eight neighbouring columns: column ``8 * i + j`` gets the lower
half of word ``j // 2`` where j is even and the upper half where it is odd. One entry a word, or a counter, would cost
up to eight times as much, and attention would spend more time on its masks than on its products.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tunekit.engine.kernels.batch import LARGEST, Sequences

LEVELS = 2**16
"""The number of equally likely values of a draw. Probabilities are rounded to multiples of 1 / LEVELS."""
DRAWS = 8
"""The draws that one call of Philox makes."""
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
WORD = 2**32 - 1
"""The mask of a word's bits. PyTorch has little arithmetic on uint32, so words are held in int64 here."""

Words = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class DropoutKeys:
    """What the masks of a batch depend on besides the places of its tokens, as int32 tensors on the device."""

    seeds: torch.Tensor
    """(K, 2), the words of each trial's seed, the lower first (``seed_words``)."""
    steps: torch.Tensor
    """(K,), the number of each trial's own step."""
    part: torch.Tensor
    """(1,), the number of the part of the batch, in 0..LARGEST."""

    def __post_init__(self) -> None:
        """Raise ValueError for tensors of other shapes or types."""
        num_trials = len(self.steps)
        for name, shape in {"seeds": (num_trials, 2), "steps": (num_trials,), "part": (1,)}.items():
            tensor: torch.Tensor = getattr(self, name)
            if tensor.shape != shape or tensor.dtype != torch.int32 or not tensor.is_contiguous():
                raise ValueError(f"{name} of {num_trials} trials are contiguous int32 {shape}, not {tensor.shape}")


@dataclass(frozen=True)
class Dropout:
    """One use of dropout (Srivastava et al., 2014) in the forward pass of a batch."""

    site: int
    """The number of this use in the forward pass."""
    dropping_levels: int
    """How many of the LEVELS equally likely draws drop an entry."""
    keys: DropoutKeys
    sequences: Sequences

    def __post_init__(self) -> None:
        """Raise ValueError for a site or levels out of range, and for a batch of other trials than the keys'."""
        if not 0 <= self.site <= LARGEST or not 0 <= self.dropping_levels < LEVELS:
            raise ValueError(f"site {self.site} that drops {self.dropping_levels} of {LEVELS} levels is out of range")
        if len(self.keys.steps) != self.sequences.num_trials:
            raise ValueError(f"keys of {len(self.keys.steps)} trials for a batch of {self.sequences.num_trials}")

    @property
    def scale(self) -> float:
        """The factor by which dropout multiplies the entries that stay."""
        return LEVELS / (LEVELS - self.dropping_levels)


def seed_words(seeds: Sequence[int]) -> torch.Tensor:
    """Return the words (K, 2) of K seeds in 0..2**64-1 as ``DropoutKeys`` holds them: int32 with a word's bits."""
    words = torch.tensor([[seed & WORD, seed >> 32] for seed in seeds], dtype=torch.int64)
    return words.to(torch.int32)  # keeps the lower 32 bits


def philox(counter: Words, key: tuple[torch.Tensor, torch.Tensor]) -> Words:
    """Return four random words for each counter and key, all of which are int64 tensors that hold words of 32 bits.

    The shapes of the counter's and the key's words broadcast to that of the result, since each word of the result
    depends on all of them.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _product(MULTIPLIERS[0], c0)
        high2, low2 = _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high2 ^ c1 ^ k0, low2, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + KEY_STEPS[0] & WORD, k1 + KEY_STEPS[1] & WORD
    return c0, c1, c2, c3


def _product(factor: int, word: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the upper and the lower word of ``factor * word``, which has 64 bits and can exceed the largest int64."""
    low, high = factor * (word & 0xFFFF), factor * (word >> 16)  # below 2**48 each
    return high + (low >> 16) >> 16, low + (high << 16) & WORD


def draws(
    dropout: Dropout,
    trial: torch.Tensor,
    sequence: torch.Tensor,
    head: torch.Tensor,
    place: torch.Tensor,
    columns: int,
) -> torch.Tensor:
    """Return draws (..., columns), int64 in 0..LEVELS-1, for the first ``columns`` columns of each row.

    ``trial``, ``sequence``, ``head`` and ``place`` say where each row is. They broadcast to the shape (...).
    """
    keys = dropout.keys
    group = torch.arange(-(-columns // DRAWS), device=keys.seeds.device)
    trial, sequence, head, place = (index.to(torch.int64)[..., None] for index in (trial, sequence, head, place))
    c0, c1 = place << 16 | group, sequence << 16 | head
    c2, c3 = dropout.site << 16 | keys.part.to(torch.int64), keys.steps.to(torch.int64)[trial] & WORD
    low, high = (keys.seeds[:, word].to(torch.int64)[trial] & WORD for word in (0, 1))
    words = torch.stack(philox((c0, c1, c2, c3), (low, high)), dim=-1)  # (..., groups, 4)
    halves = torch.stack((words & LEVELS - 1, words >> 16), dim=-1)  # (..., groups, 4, 2)
    return halves.flatten(-3)[..., :columns]


def drop(x: torch.Tensor, dropout: Dropout, drawn: torch.Tensor) -> torch.Tensor:
    """Return ``x`` with 0 where a draw in ``drawn`` (in x's shape) drops the entry, and the others times the scale."""
    return torch.where(drawn >= dropout.dropping_levels, x * dropout.scale, 0.0)


def row_draws(dropout: Dropout, num_rows: int, width: int) -> torch.Tensor:
    """Return the draws (num_rows, width) for hidden states of K * T tokens or of K * B first tokens."""
    trial, sequence, place = dropout.sequences.rows(num_rows)
    return draws(dropout, trial, sequence, torch.zeros_like(sequence), place, width)
