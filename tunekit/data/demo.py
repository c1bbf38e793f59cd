"""A generated dataset: the opinion on an aspect (``text``) in a sentence of a restaurant review (``pair``).

A seeded grammar generates the same rows on every machine. It is made to be hard for its size: contrasts give one
sentence two labels, negation (also double) turns a word's polarity, strong words occur in sentences that leave the
aspect neutral, and words marked as rare appear in test only.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from tunekit.data.base import DATASETS, DatasetInfo, make_frame, text_hash

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")
LABELS = ("positive", "neutral", "negative")
NUM_ROWS = {"train": 600, "val": 100, "test": 300}
SEED = 20240

ASPECTS = (
    "soup", "bread", "pasta", "pizza", "sushi", "steak", "salad", "dessert", "coffee", "wine list", "lunch menu",
    "ceviche", "lamb curry", "ramen", "service", "waiter", "hostess", "bartender", "kitchen", "manager", "music",
    "decor", "patio", "dining room", "bar", "lighting", "price", "bill", "portion size", "booth", "reservation", "view",
)  # fmt: skip
RARE_ASPECTS = ("risotto", "sommelier", "brunch", "tasting menu", "gnocchi", "upholstery", "corkage fee", "terrace")
GOOD = ("great", "excellent", "wonderful", "lovely", "perfect", "delightful", "very good", "impressive", "fantastic")
RARE_GOOD = ("superb", "exquisite", "stellar", "a joy", "first-rate", "sublime", "flawless", "memorable", "on point")
BAD = ("terrible", "awful", "poor", "disappointing", "bad", "dreadful", "sloppy", "horrible", "a letdown")
RARE_BAD = ("abysmal", "mediocre", "a disgrace", "lacklustre", "shoddy", "dismal", "second-rate", "woeful", "bland")
PLAIN = (
    "new",
    "local",
    "on the left",
    "near the door",
    "the same as last year",
    "mentioned online",
    "on the first page",
)
DAYS = ("on monday", "on friday night", "last week", "for a birthday", "after work", "with two friends", "in may")
OPENINGS = ("", "", "", "honestly , ", "we agreed that ", "all in all , ", "to my surprise , ", "my friend says ")

# Placeholders: {a} and {b} are aspects, {good}, {bad}, {plain}, {day} words; {same} and {other} are a word and one of
# the opposite polarity, in either direction. The labels are those of {a} and {b}: + - 0, s as {same}, o as {other}.
TEMPLATES = (
    ("the {a} was {same} .", "s"),
    ("they wrote {day} that the {a} here is {same} .", "s"),
    ("the {a} was {same} but the {b} was {other} .", "so"),
    ("while the {a} was {same} , the {b} was {other} .", "so"),
    ("the {a} was {same} , unlike the {b} , which was {other} .", "so"),
    ("both the {a} and the {b} were {same} {day} .", "ss"),
    ("the {a} was not {same} .", "o"),
    ("the {a} was anything but {same} , and so was the {b} .", "oo"),
    ("nobody could call the {a} {same} , nor the {b} .", "oo"),
    ("the {a} was {same} , which the {b} was not .", "so"),
    ("it would be wrong to say that the {a} was not {same} .", "s"),
    ("never once was the {a} less than {good} {day} .", "+"),
    ("we expected the {a} to be {same} , yet it turned out {other} .", "o"),
    ("we feared the {a} would be {bad} , but we were wrong .", "+"),
    ("we hoped it would be {good} , but the {a} never got there .", "-"),
    ("the {a} used to be {same} ; these days it is {other} .", "o"),
    ("the {a} came before the {b} , which was {same} .", "0s"),
    ("we asked about the {a} {day} and the answer was {same} .", "0"),
    ("a {same} evening ; the {a} is {plain} .", "0"),
    ("the {a} is {plain} and the {b} is {same} .", "0s"),
    ("the {a} is {plain} .", "0"),
    ("the {b} , not the {a} , was {same} {day} .", "0s"),
    ("the {a} could not have been more {good} .", "+"),
    ("they changed the {a} {day} , and the {b} is {plain} .", "00"),
)


def _sentence(rng: random.Random, rare: bool) -> tuple[str, list[tuple[str, int]]]:
    """Return one sentence and its (aspect, label) pairs. With ``rare``, half of the words are rare ones."""

    def pick(common: Sequence[T], uncommon: Sequence[T] = ()) -> T:
        """Return an item of either list, by raw bits: ``random`` promises only these to stay the same."""
        words = uncommon if uncommon and rare and rng.getrandbits(1) else common
        return words[rng.getrandbits(32) % len(words)]

    template, labels = pick(TEMPLATES)
    first = pick(ASPECTS, RARE_ASPECTS)
    second = pick([aspect for aspect in ASPECTS if aspect != first])
    good, bad = pick(GOOD, RARE_GOOD), pick(BAD, RARE_BAD)
    positive = bool(rng.getrandbits(1))
    same, other = (good, bad) if positive else (bad, good)
    words = {"a": first, "b": second, "good": good, "bad": bad, "same": same, "other": other}
    sentence = pick(OPENINGS) + template.format(**words, plain=pick(PLAIN), day=pick(DAYS))
    signs = {"+": "positive", "0": "neutral", "-": "negative"}
    signs |= {"s": "positive" if positive else "negative", "o": "negative" if positive else "positive"}
    aspects = [(aspect, LABELS.index(signs[sign])) for aspect, sign in zip((first, second), labels, strict=False)]
    return sentence, aspects


def generate() -> dict[str, DataFrame]:
    """Return the three splits. No sentence is in two of them."""
    rng = random.Random(SEED)
    known = set()
    splits = {}
    for split, size in NUM_ROWS.items():
        rows: list[tuple[str, str, int]] = []
        while len(rows) < size:
            sentence, aspects = _sentence(rng, rare=split == "test")
            if sentence not in known:
                known.add(sentence)
                rows += [(aspect, sentence, label) for aspect, label in aspects]
        terms, sentences, labels = zip(*rows[:size], strict=True)
        splits[split] = make_frame(terms, labels, pairs=sentences, groups=map(text_hash, sentences))
    return splits


DATASETS.register("demo")(
    DatasetInfo(
        display_name="Demo",
        label_names=LABELS,
        load=generate,
        content_hash="224fac2b6369",
        num_rows=NUM_ROWS,
        mean_tokens=18,
        licence="CC0-1.0 (generated)",
        homepage="tunekit/data/demo.py",
    )
)
