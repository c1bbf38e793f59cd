"""Dropout whose masks come from the trial's own random stream, whatever else the process draws, alone and in a pack.

A row of a mask belongs to a token, a pair of tokens or a sequence, and not to a place in a batch. The stream draws the
rows of a trial in the order of its own batch, 16 bits an entry, for all uses of dropout in a step at once. So a trial
has the same masks alone and in a pack. ``DropoutSites`` lists the uses of dropout in a model; its ``masks`` takes the
streams of K trials and returns ``DropoutMasks``, which hands them out in the order of the forward pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import nn

from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.seeding import stream_seed

LEVELS = 2**16
"""An entry is one of so many equally likely draws; a probability is rounded to a multiple of 1 / LEVELS."""


class MaskKind(StrEnum):
    """What a row of a mask belongs to."""

    TOKEN = "token"
    PAIR = "pair"
    SEQUENCE = "sequence"


@dataclass(frozen=True)
class DropoutSite:
    """One use of dropout in a forward pass."""

    kind: MaskKind
    """What a row of its mask belongs to."""
    width: int
    """The entries of a row."""
    dropping_levels: int
    """How many of the LEVELS equally likely draws drop an entry."""

    @property
    def scale(self) -> float:
        """The factor by which dropout multiplies the entries that stay."""
        return LEVELS / (LEVELS - self.dropping_levels)


class MaskStream:
    """The random bits of one trial's dropout, a function of its seed and the step."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device

    def draw(self, num_words: int, *names: int) -> torch.Tensor:
        """Return (4 * num_words,) int16 draws for what ``names`` say: the step and the part of its batch."""
        seed = stream_seed(self.seed, "dropout", *names)
        if self.device.type == "cpu":
            # numpy draws three times as fast as torch here.
            words = torch.from_numpy(np.random.SFC64(seed).random_raw(num_words).view(np.int64))
        else:
            generator = torch.Generator(self.device).manual_seed(seed)
            words = torch.empty(num_words, dtype=torch.int64, device=self.device)
            words.random_(-(2**63), None, generator=generator)
        return words.view(torch.int16)  # 64 bits are 4 draws


class DropoutSites:
    """The uses of dropout in a model's forward pass, in its order; ``patching.patch_model`` finds them."""

    def __init__(self, sites: Sequence[DropoutSite]) -> None:
        self.sites = tuple(sites)
        # (W,) of each kind. A draw is int16, from -LEVELS / 2 on, and so is what it is compared to.
        self._thresholds = {
            kind: torch.cat(
                [torch.full((site.width,), site.dropping_levels - LEVELS // 2) for site in self._of(kind)]
            ).to(torch.int16)
            for kind in MaskKind
            if self._of(kind)
        }

    def _of(self, kind: MaskKind) -> list[DropoutSite]:
        return [site for site in self.sites if site.kind is kind]

    @property
    def has_pairs(self) -> bool:
        """Whether attention probabilities are dropped."""
        return MaskKind.PAIR in self._thresholds

    def masks(
        self, draws: Sequence[tuple[MaskStream, tuple[int, ...]]], rows: Mapping[MaskKind, Sequence[int]]
    ) -> "DropoutMasks":
        """Return the masks of one forward pass of K trials.

        ``draws`` holds each trial's stream and what it draws for; ``rows`` says how many rows of each kind each trial
        has. Rows of tokens and sequences are padded to the most that a trial has, rows of pairs are not.
        """
        widths = {kind: len(thresholds) for kind, thresholds in self._thresholds.items()}  # W of each kind
        drawn: dict[MaskKind, list[torch.Tensor]] = {kind: [] for kind in widths}
        for trial, (stream, names) in enumerate(draws):
            sizes = {kind: rows[kind][trial] * width for kind, width in widths.items()}
            bits = stream.draw(-(-sum(sizes.values()) // 4), *names)  # one draw for all kinds, cut up here
            for kind, size in sizes.items():
                part, bits = bits[:size], bits[size:]
                drawn[kind].append(part.view(-1, widths[kind]))  # (rows, W)
        by_kind = {}
        for kind, parts in drawn.items():
            thresholds = self._thresholds[kind] = self._thresholds[kind].to(parts[0].device)
            stays = [(part >= thresholds).view(torch.uint8) for part in parts]  # K of (rows, W)
            by_kind[kind] = (
                torch.cat(stays) if kind is MaskKind.PAIR else nn.utils.rnn.pad_sequence(stays, batch_first=True)
            )
        return DropoutMasks(self.sites, by_kind)


class DropoutMasks:
    """The masks of one forward pass, handed out site by site."""

    def __init__(self, sites: Sequence[DropoutSite], by_kind: Mapping[MaskKind, torch.Tensor]) -> None:
        """``by_kind`` holds uint8 masks (K, T, W) of tokens, (P, W) of pairs and (K, B, W) of sequences."""
        self.by_kind = by_kind
        self._sites: Iterator[DropoutSite] = iter(sites)
        self._used = dict.fromkeys(by_kind, 0)

    def next(self, kind: MaskKind) -> tuple[torch.Tensor, float]:
        """Return the next site's mask, uint8 (K, T, width), (P, width) or (K, B, width), and its scale.

        Raises RuntimeError where the next site is of another kind.
        """
        site = next(self._sites)
        if site.kind is not kind:
            raise RuntimeError(f"dropout of a {kind} where the forward pass had one of a {site.kind}")
        begin = self._used[kind]
        self._used[kind] = begin + site.width
        return self.by_kind[kind][..., begin : begin + site.width], site.scale


class _ApplyMask(torch.autograd.Function):
    """``x * mask * scale``, which keeps for its gradient the mask alone, a byte an entry."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (x * mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return (grad * mask).mul_(ctx.scale), None, None


def apply_mask(x: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """Return ``x`` with the entries dropped where ``mask`` (uint8, of x's shape) is 0, and the others times ``scale``.

    This is dropout after Srivastava et al. (2014), with the mask given.
    """
    dropped: torch.Tensor = _ApplyMask.apply(x, mask, scale)  # type: ignore[no-untyped-call]
    return dropped


@dataclass
class ForwardContext:
    """What the modules of one model need in a forward pass beside their input: the batch and the dropout masks.

    ``patching.patch_model`` gives each model one context, and ``patching.logits`` fills it for the time of a forward
    pass.
    """

    padded: bool = False
    """Whether the model takes padded batches. The other fields are then unused."""
    batch: FlatBatch | None = None
    """The flat batch of the forward pass under way; None outside of one."""
    masks: DropoutMasks | None = None
    """The dropout masks of the forward pass under way; None where nothing is dropped."""
    sites: DropoutSites = field(default_factory=lambda: DropoutSites(()))
    """All uses of dropout in the model's forward pass, in order."""
    found_sites: list[DropoutSite] | None = None
    """The list to which each use of dropout is added while ``patching.patch_model`` looks for them; else None."""

    @property
    def flat_batch(self) -> FlatBatch:
        """The flat batch of the forward pass under way. Raises RuntimeError outside of one."""
        if self.batch is None:
            raise RuntimeError("a patched model runs through tunekit.engine.forward.patching.logits alone")
        return self.batch

    def next_mask(self, kind: MaskKind, width: int, rate: float) -> tuple[torch.Tensor, float] | None:
        """Return the mask and the scale of the next use of dropout, or None where nothing is dropped.

        ``kind`` says what a row of the mask belongs to and ``width`` how many entries a row has. ``rate`` is the
        probability to drop an entry.
        """
        if self.found_sites is not None and rate > 0:
            self.found_sites.append(DropoutSite(kind, width, round(rate * LEVELS)))
        return None if self.masks is None or rate == 0 else self.masks.next(kind)
