"""Seeded draws of rows: stratified parts that keep tied rows together, and nested stratified samples.

Every draw orders rows by a sha256 of the seed and the row, so it is the same on every machine and library version.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.tasks.bio import types_of

if TYPE_CHECKING:
    from pandas import DataFrame

NUMBER_STRATA = 10
"""The number of strata, of about equal sizes, into which numbers are put."""


def _draw_key(seed: int, *row: str | None) -> str:
    """Return a row's sort key in the draw of ``seed``: hex digits, uniformly spread and the same everywhere."""
    return hashlib.sha256(repr((seed, *row)).encode()).hexdigest()


def tied_rows(frame: DataFrame) -> list[list[int]]:
    """Return the row numbers in sets that must not be separated: rows linked, also through others, by input or group.

    The input is text and pair together, since aspect terms repeat in unrelated sentences. The sets are ordered by their
    first row.
    """
    leader = list(range(len(frame)))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    first: dict[object, int] = {}
    for row, (text, pair, group) in enumerate(zip(frame["text"], frame["pair"], frame["group"], strict=True)):
        for key in ((text, pair), group):
            one, other = find(row), find(first.setdefault(key, row))
            leader[max(one, other)] = min(one, other)
    tied: dict[int, list[int]] = {}
    for row in range(len(frame)):
        tied.setdefault(find(row), []).append(row)
    return list(tied.values())


def strata_of(labels: Sequence[Any]) -> list[int]:
    """Return the stratum of each row, by its label as a split holds it.

    The stratum is the row's class; for a number, its tenth of the sorted numbers; for several labels, the rarest label
    of the row, so that no part lacks a rare label; for tags of words, the rarest type of entity.

    Equal numbers are in one stratum, and so are rows without a label, or without an entity.
    """
    if any(isinstance(label, str) for label in labels):
        types = [frozenset(types_of(label.split(" "))) for label in labels]
        known = sorted(frozenset().union(*types))
        return _rarest([tuple(int(kind in own) for kind in known) for own in types])
    if any(isinstance(label, tuple) for label in labels):
        return _rarest(labels)
    if not any(isinstance(label, float) for label in labels):
        return [int(label) for label in labels]
    ordered = sorted(labels)
    bounds = [ordered[len(ordered) * part // NUMBER_STRATA] for part in range(1, NUMBER_STRATA)]
    return [bisect_right(bounds, label) for label in labels]


def _rarest(labels: Sequence[Any]) -> list[int]:
    """Return the index of the rarest label of each row; one more than the last index for a row without a label."""
    counts = [sum(column) for column in zip(*labels, strict=True)]
    return [
        min((place for place, has in enumerate(row) if has), key=lambda place: (counts[place], place), default=len(row))
        for row in labels
    ]


def draw_parts(frame: DataFrame, shares: dict[str, float], seed: int) -> dict[str, list[int]]:
    """Return the sorted row numbers of each part, near ``shares`` of all rows and of each stratum.

    Tied rows are in one part. ``shares`` adds up to 1. Its first part gets at least one row of every stratum
    (``strata_of``), such as a class; other parts may be empty.
    """
    labels = strata_of(frame["label"].tolist())
    everything = -1  # a stratum of all rows, by which the parts also keep their shares of all rows
    total = Counter(labels) + Counter({everything: len(labels)})
    want = {part: {label: share * n for label, n in total.items()} for part, share in shares.items()}
    have: dict[str, Counter[int]] = {part: Counter() for part in shares}
    drawn: dict[str, list[int]] = {part: [] for part in shares}
    texts, pairs = frame["text"].tolist(), frame["pair"].tolist()
    first = next(iter(shares))
    # Large sets first: small ones can still even out what a large one tilts.
    for rows in sorted(tied_rows(frame), key=lambda r: (-len(r), _draw_key(seed, texts[r[0]], pairs[r[0]]))):
        counts = Counter(labels[row] for row in rows) + Counter({everything: len(rows)})

        def misfit(part: str, counts: Counter[int] = counts) -> float:
            """Return the growth of the part's chi-square distance from its share if these rows joined it."""
            return sum(n * (2 * (have[part][la] - want[part][la]) + n) / want[part][la] for la, n in counts.items())

        part = min(shares, key=misfit) if all(have[first][label] for label in counts) else first
        have[part].update(counts)
        drawn[part] += rows
    return {part: sorted(rows) for part, rows in drawn.items()}


def stratified_sample(frame: DataFrame, size: int, seed: int) -> list[int]:
    """Return the sorted numbers of ``size`` rows, with the strata's shares.

    A larger sample of the same seed includes a smaller one. A sample at least as large as the number of strata
    (``strata_of``) has a row of each. ``frame`` must have the column ``item_id``.
    """
    by_label: dict[int, list[tuple[str, int]]] = {}
    for row, (label, item_id) in enumerate(zip(strata_of(frame["label"].tolist()), frame["item_id"], strict=True)):
        by_label.setdefault(label, []).append((_draw_key(seed, item_id), row))
    # A row's quantile within its label is its turn: any prefix of the order is stratified.
    turns = [(rank / len(rows), key, row) for rows in by_label.values() for rank, (key, row) in enumerate(sorted(rows))]
    return sorted(row for _, _, row in sorted(turns)[:size])
