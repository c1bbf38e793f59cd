"""Dropout whose masks come from each trial's own random stream, so that a trial has the same masks alone and in a pack.

A row of a mask belongs to a token, a pair of tokens or a sequence, and not to a place in the pack's batch. The stream
of a trial draws the rows of that trial only, in the order of its own batch. It makes one draw of 16 bits for each entry
of a mask, and draws for all uses of dropout in a forward pass at once. ``DropoutSites`` lists the uses of dropout in a
model. Its ``masks`` takes the streams of K trials and returns a ``DropoutMasks``. The modules of the model take one
mask after another from it, in the order in which they run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import nn

from tunekit.engine.kernels.masks import LEVELS
from tunekit.seeding import stream_seed


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
    """The number of entries of a row."""
    dropping_levels: int
    """How many of the LEVELS equally likely draws drop an entry."""

    @property
    def scale(self) -> float:
        """The factor by which dropout multiplies the entries that stay."""
        return LEVELS / (LEVELS - self.dropping_levels)


class MaskStream:
    """The random bits of one trial's dropout, which depend on the trial's seed, the step and the part only."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def draw(self, num_words: int, *names: int) -> torch.Tensor:
        """Return 4 * num_words draws in int16. ``names`` are the numbers of the step and of the part of its batch."""
        seed = stream_seed(self.seed, "dropout", *names)
        # numpy draws three times as fast as torch.
        words = torch.from_numpy(np.random.SFC64(seed).random_raw(num_words).view(np.int64))
        return words.view(torch.int16)  # 64 bits are 4 draws


class DropoutSites:
    """The uses of dropout in a model's forward pass, in the order in which they run. ``patch_model`` finds them."""

    def __init__(self, sites: Sequence[DropoutSite]) -> None:
        self.sites = tuple(sites)
        # A tensor (W,) for each kind. An entry is dropped where its draw is below the threshold. Draws are int16, so
        # the lowest is -LEVELS / 2, and the thresholds count from there.
        self._thresholds = {
            kind: torch.cat(
                [torch.full((site.width,), site.dropping_levels - LEVELS // 2) for site in self._sites_of(kind)]
            ).to(torch.int16)
            for kind in MaskKind
            if self._sites_of(kind)
        }

    def _sites_of(self, kind: MaskKind) -> list[DropoutSite]:
        return [site for site in self.sites if site.kind is kind]

    @property
    def has_pairs(self) -> bool:
        """Whether a layer before the last drops attention probabilities. The last layer's masks have rows of tokens."""
        return MaskKind.PAIR in self._thresholds

    def masks(
        self, draws: Sequence[tuple[MaskStream, tuple[int, ...]]], rows: Mapping[MaskKind, Sequence[int]]
    ) -> "DropoutMasks":
        """Return the masks of one forward pass of K trials.

        ``draws`` holds each trial's stream, and the step and part for which the stream draws (see ``MaskStream.draw``).
        ``rows`` holds the number of rows of each kind that each trial has. Trials with fewer rows of tokens than others
        get rows of zeros after their last one; the rows of pairs of all trials lie end to end.
        """
        widths = {kind: len(thresholds) for kind, thresholds in self._thresholds.items()}  # W of each kind
        drawn: dict[MaskKind, list[torch.Tensor]] = {kind: [] for kind in widths}
        for trial, (stream, names) in enumerate(draws):
            sizes = {kind: rows[kind][trial] * width for kind, width in widths.items()}
            bits = stream.draw(-(-sum(sizes.values()) // 4), *names)  # one call for all kinds; the loop cuts it up
            for kind, size in sizes.items():
                part, bits = bits[:size], bits[size:]
                drawn[kind].append(part.view(-1, widths[kind]))  # (rows, W)
        by_kind = {}
        for kind, parts in drawn.items():
            thresholds = self._thresholds[kind] = self._thresholds[kind].to(parts[0].device)
            kept = [(part >= thresholds).view(torch.uint8) for part in parts]  # K of (rows, W)
            by_kind[kind] = (
                torch.cat(kept) if kind is MaskKind.PAIR else nn.utils.rnn.pad_sequence(kept, batch_first=True)
            )
        return DropoutMasks(self.sites, by_kind)


class DropoutMasks:
    """The masks of one forward pass. Each call of ``next`` returns that of the next site."""

    def __init__(self, sites: Sequence[DropoutSite], by_kind: Mapping[MaskKind, torch.Tensor]) -> None:
        """``by_kind`` holds uint8 masks: (K, T, W) for tokens, (P, W) for pairs and (K, B, W) for sequences.

        An entry of 1 stays and an entry of 0 is dropped.
        """
        self.sites, self.by_kind = tuple(sites), by_kind
        self._sites: Iterator[DropoutSite] = iter(self.sites)
        self._used = dict.fromkeys(by_kind, 0)

    def to(self, device: torch.device) -> "DropoutMasks":
        """Return the masks on ``device``, from the first site on."""
        return DropoutMasks(self.sites, {kind: mask.to(device) for kind, mask in self.by_kind.items()})

    def next(self, kind: MaskKind) -> tuple[torch.Tensor, float]:
        """Return the next site's mask, uint8 (K, T, width), (P, width) or (K, B, width), and its scale.

        Raises RuntimeError where the next site is of another kind than the caller's ``kind``, or where none is left.
        """
        site = next(self._sites, None)
        if site is None or site.kind is not kind:
            expected = "no further dropout" if site is None else f"dropout of kind {site.kind!r}"
            raise RuntimeError(f"expected {expected}, as in the model's plain forward pass, got kind {kind!r}")
        begin = self._used[kind]
        self._used[kind] = begin + site.width
        return self.by_kind[kind][..., begin : begin + site.width], site.scale


class _ApplyMask(torch.autograd.Function):
    """Return ``x * mask * scale``. For the gradient only the mask is kept in memory, one byte for each entry."""

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
    """Return ``x`` with 0 where ``mask`` (uint8, in the shape of x) is 0, and the other entries times ``scale``.

    This is dropout (Srivastava et al., 2014) with a mask that the caller passes.
    """
    dropped: torch.Tensor = _ApplyMask.apply(x, mask, scale)  # type: ignore[no-untyped-call]
    return dropped
