"""The sizes of a batch: groups of similar lengths on a CPU, buckets of tokens on a GPU. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass

GROUPS = 4
"""The most groups of sequences in which attention is computed."""
SMALLEST_GROUP = 4
"""The fewest sequences that a group holds, unless the batch has fewer."""
BUCKET_TOKENS = 128
"""On a GPU the tokens of a row are a multiple of this. A smaller one makes more buckets, a larger one more filler."""


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
    """The slots of all groups: the sum, over groups, of the sequences times the longest length."""
    squares: int
    """The pairs of slots within sequences: the sum, over groups, of the slots times the longest length."""
    padded: int
    """The slots of those groups that hold padding."""
    pairs: int
    """The pairs of real tokens within sequences."""
    window_pairs: int = 0
    """The numbers in the biases by which a local layer hides keys outside its window, over all groups that are longer
    than the window. A group without padding has one bias for all its sequences."""
    window_keys: int = 0
    """The same for a layer whose only queries are first tokens."""
    window_padded: int = 0
    """The slots of those groups that hold padding and are no longer than the window."""
    window_longest: int = 0
    """The tokens of the longest sequence that is longer than the window."""

    @classmethod
    def from_lengths(cls, lengths: Sequence[int], *, gpu: bool = False, window: int | None = None) -> "BatchSizes":
        """Return the sizes of a batch of sequences of ``lengths`` on a CPU, or by the kernels of a ``gpu``.

        The kernels have no groups: each token, including filler, is a slot, and no pair is stored. ``window`` is the
        distance in tokens that the queries of local layers see; None where there are no local layers.
        """
        falling = sorted(map(int, lengths), reverse=True)
        if gpu:
            tokens = bucket_tokens(sum(falling))
            return cls(len(falling), tokens, tokens, 0, 0, 0)
        slots = squares = padded = window_pairs = window_keys = window_padded = window_longest = 0
        for begin, end, longest in group_bounds(falling):
            places, is_padded = (end - begin) * longest, falling[end - 1] < longest
            slots += places
            squares += places * longest
            padded += places if is_padded else 0
            if window is not None and longest - 1 > window:
                keys = places if is_padded else longest
                window_pairs, window_keys = window_pairs + keys * longest, window_keys + keys
                window_longest = max(window_longest, longest)
            elif window is not None and is_padded:
                window_padded += places
        pairs = sum(one * one for one in falling)
        of_windows = (window_pairs, window_keys, window_padded, window_longest)
        return cls(len(falling), sum(falling), slots, squares, padded, pairs, *of_windows)
