"""How attention groups the sequences of a batch by length, and how large the groups are. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass

GROUPS = 4
"""The most groups of sequences in which attention is computed."""
SMALLEST_GROUP = 4
"""The least sequences that a group holds on a CPU, where the batch has as many."""
SMALLEST_GROUP_GPU = 128
"""The same on a GPU, where the launches of a smaller group take longer than the padding that it saves."""


def group_bounds(falling: Sequence[int], *, gpu: bool) -> list[tuple[int, int, int]]:
    """Return begin, end and longest length of each group, for lengths in falling order.

    The groups hold about equally many sequences. Groups with the same longest length are merged.
    """
    count = max(1, min(GROUPS, len(falling) // (SMALLEST_GROUP_GPU if gpu else SMALLEST_GROUP)))
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
        """Return the sizes of a batch of sequences of ``lengths``, as a CPU or a GPU groups them."""
        falling = sorted(map(int, lengths), reverse=True)
        slots = squares = padded = 0
        for begin, end, longest in group_bounds(falling, gpu=gpu):
            places = (end - begin) * longest
            slots += places
            squares += places * longest
            padded += places if falling[end - 1] < longest else 0
        return cls(len(falling), sum(falling), slots, squares, padded, sum(one * one for one in falling))
