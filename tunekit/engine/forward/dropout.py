"""Dropout whose masks come from the trial's own stream, whatever the process draws beside, packed or single.

A mask belongs to a token, a pair of tokens or a sequence, and not to a place in a batch: the stream draws for the
trial's tokens in the order of its batch, 16 bits an entry, all sites of a step at once. So a trial sees equal masks
alone and in a pack.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import nn

from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.seeding import stream_seed

LEVELS = 2**16
"""A probability is rounded to a multiple of 1 / LEVELS."""


class MaskKind(StrEnum):
    """What has a row of a mask."""

    TOKEN = "token"
    PAIR = "pair"
    SEQUENCE = "sequence"


@dataclass(frozen=True)
class Site:
    """One use of dropout in a forward pass."""

    kind: MaskKind
    width: int
    """Entries a row."""
    levels: int
    """Of LEVELS equally likely draws, those that drop."""

    @property
    def scale(self) -> float:
        """What is kept is multiplied by this."""
        return LEVELS / (LEVELS - self.levels)


class MaskStream:
    """The random bits of one trial's dropout, a function of its seed and the step."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device

    def draw(self, num_words: int, *names: int) -> torch.Tensor:
        """``num_words`` x 4 numbers, int16, for what ``names`` say: the step and the part of its batch."""
        seed = stream_seed(self.seed, "dropout", *names)
        if self.device.type == "cpu":
            # numpy draws three times as fast as torch here.
            words = torch.from_numpy(np.random.SFC64(seed).random_raw(num_words).view(np.int64))
        else:
            generator = torch.Generator(self.device).manual_seed(seed)
            words = torch.empty(num_words, dtype=torch.int64, device=self.device)
            words.random_(-(2**63), None, generator=generator)
        return words.view(torch.int16)


class Sites:
    """The uses of dropout in a model's forward pass, in its order, found by ``flow.prepare``."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = tuple(sites)
        self._thresholds = {
            kind: torch.cat([torch.full((s.width,), s.levels - LEVELS // 2) for s in self._of(kind)]).to(torch.int16)
            for kind in MaskKind
            if self._of(kind)
        }

    def _of(self, kind: MaskKind) -> list[Site]:
        return [site for site in self.sites if site.kind is kind]

    @property
    def has_pairs(self) -> bool:
        """Whether attention probabilities are dropped."""
        return MaskKind.PAIR in self._thresholds

    def masks(
        self, draws: Sequence[tuple[MaskStream, tuple[int, ...]]], rows: dict[MaskKind, Sequence[int]]
    ) -> "Masks":
        """The masks of one forward pass of K trials; ``rows`` says how many each has of each kind.

        Tokens and sequences are padded to the most that a trial has, pairs are not.
        """
        widths = {kind: len(thresholds) for kind, thresholds in self._thresholds.items()}
        found: dict[MaskKind, list[torch.Tensor]] = {kind: [] for kind in widths}
        for trial, (stream, names) in enumerate(draws):
            sizes = {kind: rows[kind][trial] * width for kind, width in widths.items()}
            bits = stream.draw(-(-sum(sizes.values()) // 4), *names)
            for kind, size in sizes.items():
                part, bits = bits[:size], bits[size:]
                found[kind].append(part.view(-1, widths[kind]))
        ready = {}
        for kind, parts in found.items():
            thresholds = self._thresholds[kind] = self._thresholds[kind].to(parts[0].device)
            kept = [(part >= thresholds).view(torch.uint8) for part in parts]
            ready[kind] = (
                torch.cat(kept) if kind is MaskKind.PAIR else nn.utils.rnn.pad_sequence(kept, batch_first=True)
            )
        return Masks(self.sites, ready)


class Masks:
    """Masks of one forward pass, handed out site by site."""

    def __init__(self, sites: Sequence[Site], ready: dict[MaskKind, torch.Tensor]) -> None:
        self._ready = ready
        self._sites: Iterator[Site] = iter(sites)
        self._used = dict.fromkeys(ready, 0)

    def take(self, kind: MaskKind) -> tuple[torch.Tensor, float]:
        """The next site's mask, uint8: (K, T, width), (K, B, width) or (pairs, width); and its scale."""
        site = next(self._sites)
        if site.kind is not kind:
            raise RuntimeError(f"dropout of a {kind} where the forward pass had one of a {site.kind}")
        begin = self._used[kind]
        self._used[kind] = begin + site.width
        return self._ready[kind][..., begin : begin + site.width], site.scale


class _Masked(torch.autograd.Function):
    """``x * mask * scale``, keeping the mask alone, a byte an entry."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (x * mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return (grad * mask).mul_(ctx.scale), None, None


def masked(x: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """``x`` with what ``mask`` (uint8, x's shape) holds as 0 dropped and the rest scaled (Srivastava et al., 2014)."""
    return _Masked.apply(x, mask, scale)


@dataclass
class ForwardContext:
    """What the modules of one model need in a forward pass beside their input: the batch and the dropout masks.

    ``patching.prepare`` gives each model one context; ``patching.logits`` fills it for the time of a forward pass.
    """

    padded: bool = False
    """Whether the model takes padded batches. The other fields are then unused."""
    batch: FlatBatch | None = None
    """The flat batch of the forward pass under way; None outside of one."""
    masks: Masks | None = None
    """The dropout masks of the forward pass under way; None where nothing is dropped."""
    sites: Sites = field(default_factory=lambda: Sites(()))
    """All uses of dropout in the model's forward pass, in order."""
    found: list[Site] | None = None
    """The list to which ``patching.prepare`` has each use of dropout added while it looks for them; else None."""

    def next_mask(self, kind: MaskKind, width: int, rate: float) -> tuple[torch.Tensor, float] | None:
        """Return the mask and the scale of the next use of dropout, or None where nothing is dropped.

        ``kind`` says what has a row of the mask, ``width`` how many entries a row has, ``rate`` is the probability to
        drop an entry.
        """
        if self.found is not None and rate > 0:
            self.found.append(Site(kind, width, round(rate * LEVELS)))
        return None if self.masks is None or rate == 0 else self.masks.take(kind)
