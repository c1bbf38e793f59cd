"""A generated dataset with a tag for each word: the persons, places and firms in short notices.

A seeded grammar generates the same rows on every machine. Some names are of several types, so that the words around
them must be read.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.data.base import DATASETS, DatasetInfo, make_frame
from tunekit.tasks.bio import OUTSIDE, tag_names

if TYPE_CHECKING:
    from pandas import DataFrame

NUM_ROWS = {"train": 600, "val": 100, "test": 300}
SEED = 20243
FIRST = ("anna", "ben", "carla", "david", "elena", "farid", "grace", "hugo", "iris", "jonas")
LAST = ("berg", "costa", "dale", "engel", "fuchs", "grant", "hale", "kent", "lang", "moss")
PLACES = ("kent", "dale", "port moss", "upper lang", "bergen", "old harbour", "grant hill", "milton", "ashford")
FIRMS = ("costa lines", "hale and sons", "engel", "grant", "milton steel", "fuchs tools", "harbour bank")
SENTENCES = (
    "PER moved from LOC to LOC .",
    "ORG has hired PER as its new director .",
    "ORG will close its office in LOC next year .",
    "last week PER sold shares of ORG .",
    "PER and PER met in LOC .",
    "the mayor of LOC thanked PER for the gift .",
    "heavy rain is expected in LOC on monday .",
    "ORG and ORG agreed on a price .",
    "nobody was hurt , the police said .",
    "tickets are sold at the door from noon .",
)


def _notice(rng: random.Random) -> tuple[str, str]:
    """Return one notice, and the tags of its words."""

    def pick(values: Sequence[str]) -> str:
        """Return an item, by raw bits: ``random`` promises only these to stay the same."""
        return values[rng.getrandbits(32) % len(values)]

    words, tags = [], []
    for part in pick(SENTENCES).split(" "):
        names = {
            "PER": lambda: f"{pick(FIRST)} {pick(LAST)}" if rng.getrandbits(1) else pick(LAST),
            "LOC": lambda: pick(PLACES),
            "ORG": lambda: pick(FIRMS),
        }
        of_part = names[part]().split(" ") if part in names else [part]
        words += of_part
        tags += [f"{'I' if place else 'B'}-{part}" if part in names else OUTSIDE for place in range(len(of_part))]
    return " ".join(words), " ".join(tags)


def generate() -> dict[str, DataFrame]:
    """Return the three splits. No notice is in two of them, or twice in one."""
    rng = random.Random(SEED)
    known = set()
    splits = {}
    for split, size in NUM_ROWS.items():
        rows: list[tuple[str, str]] = []
        while len(rows) < size:
            text, tags = _notice(rng)
            if text not in known:
                known.add(text)
                rows.append((text, tags))
        texts, labels = zip(*rows, strict=True)
        splits[split] = make_frame(texts, labels)
    return splits


DATASETS.register("demo-tags")(
    DatasetInfo(
        display_name="Demo, tags",
        label_names=tag_names(f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG") for prefix in "BI"),
        load=generate,
        content_hash="2ea3be226df3",
        num_rows=NUM_ROWS,
        mean_tokens=11,
        licence="CC0-1.0 (generated)",
        homepage="tunekit/data/demo_tags.py",
        task="token_classification",
    )
)
