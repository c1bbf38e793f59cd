"""The sizes of a batch: groups of similar lengths on a CPU, buckets of tokens on a GPU. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass

GROUPS = 4
"""The most groups of sequences in which attention is computed."""
SMALLEST_GROUP = 4
"""The least sequences that a group holds, where the batch has as many."""
BUCKET_TOKENS = 128
"""On a GPU a row of tokens is a multiple of this long. Shorter steps make more buckets, longer ones more filler."""


def bucket_tokens(tokens: int, multiple: int = BUCKET_TOKENS) -> int:
    """Return the least multiple of ``multiple`` that holds ``tokens``."""
    return -(-tokens // multiple) * multiple


def group_bounds(falling: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return begin, end and longest length of each group, for lengths in falling order.

    The groups hold about equally many sequences. Groups with the same longest length are merged.
    """
    count = max(1, min(GROUPS, len(falling) // SMALLEST_GROUP))
    edges = [round(part * len(falling) / count) for part in range(count + 1)]
    bounds: list[tuple[int, int, int]] = []
    for begin, end in zip(edges, edges[1:], strict=False):
        longest = int(falling[begin])
        if bounds and bounds[-1][2] == longest:
            bounds[-1] = (bounds[-1][0], end, longest)
        else:
            bounds.append((begin, end, longest))
    return bounds


@dataclass(frozen=True, order=True)
class BatchSizes:
    """The sizes of a batch that its memory depends on. ``tunekit.engine.forward`` explains slots."""

    sequences: int
    tokens: int
    slots: int
    """The slots of all groups: of each group its sequences times its longest length."""
    squares: int
    """The pairs of slots within sequences: of each group its slots times its longest length."""
    padded: int
    """The slots of those groups that hold padding."""
    pairs: int
    """The pairs of real tokens within sequences."""

    @classmethod
    def from_lengths(cls, lengths: Sequence[int], *, gpu: bool = False) -> "BatchSizes":
        """Return the sizes of a batch of sequences of ``lengths`` on a CPU or a GPU.

        A GPU has no groups: each token, filler with them, is a slot, and no pair is stored.
        """
        falling = sorted(map(int, lengths), reverse=True)
        if gpu:
            tokens = bucket_tokens(sum(falling))
            return cls(len(falling), tokens, tokens, 0, 0, 0)
        slots = squares = padded = 0
        for begin, end, longest in group_bounds(falling):
            places = (end - begin) * longest
            slots += places
            squares += places * longest
            padded += places if falling[end - 1] < longest else 0
        return cls(len(falling), sum(falling), slots, squares, padded, sum(one * one for one in falling))
