"""A generated dataset with several labels a text: which parts of a hotel a review complains of, or none.

A seeded grammar generates the same rows on every machine. A complaint may be denied, in which case it does not count,
and praise names parts too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.data.base import DATASETS, DatasetInfo, make_frame

if TYPE_CHECKING:
    from pandas import DataFrame

NUM_ROWS = {"train": 600, "val": 100, "test": 300}
SEED = 20242
PARTS = {
    "room": ("room", "bed", "bathroom", "shower", "balcony"),
    "food": ("breakfast", "dinner", "coffee", "buffet"),
    "staff": ("staff", "porter", "receptionist", "waiter"),
    "price": ("price", "bill", "deposit", "minibar bill"),
    "noise": ("street noise", "music", "air conditioning"),
}
COMPLAINTS = ("was a problem", "was far too much", "annoyed us", "let us down", "was worse than last year")
PRAISE = ("was just right", "was no issue at all", "pleased us", "was better than last year")
OPENINGS = ("we stayed two nights .", "a short trip in may .", "our third visit .", "booked late .", "a work trip .")


def _review(rng: random.Random) -> tuple[str, tuple[int, ...]]:
    """Return one review, and a 1 for each label of ``PARTS`` that it complains of, else a 0."""

    def pick(values: Sequence[str]) -> str:
        """Return an item, by raw bits: ``random`` promises only these to stay the same."""
        return values[rng.getrandbits(32) % len(values)]

    clauses, blamed = [], set()
    for _ in range(1 + rng.getrandbits(2)):
        # The later labels are rarer.
        label = pick(("room", "room", "room", "food", "food", "staff", "staff", "price", "noise"))
        part, form = pick(PARTS[label]), rng.getrandbits(2)
        if form == 0:
            clauses.append(f"the {part} {pick(PRAISE)} .")
        elif form == 1:
            clauses.append(f"nobody could say that the {part} {pick(COMPLAINTS)} .")
        else:
            clauses.append(f"the {part} {pick(COMPLAINTS)} .")
            blamed.add(label)
    return " ".join([pick(OPENINGS), *clauses]), tuple(int(label in blamed) for label in PARTS)


def generate() -> dict[str, DataFrame]:
    """Return the three splits. No review is in two of them, or twice in one."""
    rng = random.Random(SEED)
    known = set()
    splits = {}
    for split, size in NUM_ROWS.items():
        rows: list[tuple[str, tuple[int, ...]]] = []
        while len(rows) < size:
            text, labels = _review(rng)
            if text not in known:
                known.add(text)
                rows.append((text, labels))
        texts, labelled = zip(*rows, strict=True)
        splits[split] = make_frame(texts, labelled)
    return splits


DATASETS.register("demo-multi")(
    DatasetInfo(
        display_name="Demo, several labels",
        label_names=tuple(PARTS),
        load=generate,
        content_hash="0f347a94a52c",
        num_rows=NUM_ROWS,
        mean_tokens=24,
        licence="CC0-1.0 (generated)",
        homepage="tunekit/data/demo_multi.py",
        task="multi_label",
    )
)
