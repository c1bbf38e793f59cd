"""How attention groups the sequences of a batch, and the sizes that follow. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass

GROUPS = 4
"""Groups of sequences that attention is computed in, at most."""
SMALLEST_GROUP = 4
SMALLEST_GROUP_GPU = 128
"""Where a group's launches take longer than the padding that it saves."""


def group_bounds(falling: Sequence[int], *, gpu: bool) -> list[tuple[int, int, int]]:
    """(begin, end, longest) of each group of falling lengths: about equal counts, groups of one longest merged."""
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
    """What of a batch's lengths its memory depends on."""

    sequences: int
    tokens: int
    slots: int
    """Places of all groups: their sequences times their longest."""
    squares: int
    """Pairs of places within sequences: slots times the longest of their group."""
    padded: int
    """Places of the groups that hold padding."""
    pairs: int
    """Pairs of real tokens within sequences."""

    @classmethod
    def of(cls, lengths: Sequence[int], *, gpu: bool = False) -> "BatchSizes":
        """The sizes of a batch of ``lengths``, as a CPU or a GPU groups them."""
        falling = sorted(map(int, lengths), reverse=True)
        slots = squares = padded = 0
        for begin, end, longest in group_bounds(falling, gpu=gpu):
            places = (end - begin) * longest
            slots += places
            squares += places * longest
            padded += places if falling[end - 1] < longest else 0
        return cls(len(falling), sum(falling), slots, squares, padded, sum(one * one for one in falling))
