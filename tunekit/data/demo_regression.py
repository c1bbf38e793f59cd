"""A generated dataset for regression: how good a stay was, from -10 to 10, by what its review praises and blames.

A seeded grammar generates the same rows on every machine. Each clause adds the strength of its word. An intensifier
scales it, a negation turns it and halves it, and a clause on another guest does not count.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunekit.data.base import DATASETS, DatasetInfo, make_frame

if TYPE_CHECKING:
    from pandas import DataFrame

NUM_ROWS = {"train": 600, "val": 100, "test": 300}
SEED = 20241
PARTS = ("room", "bed", "breakfast", "pool", "staff", "view", "bathroom", "lobby", "garden", "wifi", "lift", "terrace")
STRENGTHS = {
    "fine": 1, "clean": 1, "pleasant": 2, "lovely": 3, "excellent": 4, "superb": 4,
    "dated": -1, "noisy": -2, "dirty": -3, "cold": -1, "awful": -4, "appalling": -4,
}  # fmt: skip
SCALES = {"": 4, "rather": 3, "somewhat": 2, "really": 5, "remarkably": 6}  # in quarters
OPENINGS = ("we stayed two nights .", "a short trip in may .", "our third visit .", "booked late .", "a work trip .")
CLOSINGS = ("we paid by card .", "the train is near .", "it rained a lot .", "check-out is at ten .", "")


def _review(rng: random.Random) -> tuple[str, float]:
    """Return one review and its target, a multiple of 1/8 within [-10, 10]."""

    def pick(values: Sequence[str]) -> str:
        """Return an item, by raw bits: ``random`` promises only these to stay the same."""
        return values[rng.getrandbits(32) % len(values)]

    clauses, eighths = [], 0
    for _ in range(1 + rng.getrandbits(2)):
        word, scale = pick(tuple(STRENGTHS)), pick(("", "", "", *SCALES))
        strength = 2 * STRENGTHS[word] * SCALES[scale]  # in eighths
        described = f"{scale} {word}".strip()
        form = rng.getrandbits(3)
        if form == 0:
            clauses.append(f"the {pick(PARTS)} was not {described} .")
            eighths -= strength // 2
        elif form == 1:
            clauses.append(f"another guest found the {pick(PARTS)} {described} .")
        else:
            clauses.append(f"the {pick(PARTS)} was {described} .")
            eighths += strength
    text = " ".join(filter(None, [pick(OPENINGS), *clauses, pick(CLOSINGS)]))
    return text, max(-80, min(80, eighths)) / 8


def generate() -> dict[str, DataFrame]:
    """Return the three splits. No review is in two of them, or twice in one."""
    rng = random.Random(SEED)
    known = set()
    splits = {}
    for split, size in NUM_ROWS.items():
        rows: list[tuple[str, float]] = []
        while len(rows) < size:
            text, target = _review(rng)
            if text not in known:
                known.add(text)
                rows.append((text, target))
        texts, targets = zip(*rows, strict=True)
        splits[split] = make_frame(texts, targets)
    return splits


DATASETS.register("demo-regression")(
    DatasetInfo(
        display_name="Demo, regression",
        label_names=("rating",),
        load=generate,
        content_hash="a0ce6e1db444",
        num_rows=NUM_ROWS,
        mean_tokens=24,
        licence="CC0-1.0 (generated)",
        homepage="tunekit/data/demo_regression.py",
        task="regression",
    )
)
