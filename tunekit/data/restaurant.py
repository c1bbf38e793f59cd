"""SemEval-2014 Task 4, Restaurants: the polarity of an aspect term (``text``) in its sentence (``pair``)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tunekit.data.base import DATASETS, DatasetInfo, make_frame, text_hash
from tunekit.data.files import PinnedFile, read_pinned

if TYPE_CHECKING:
    from pandas import DataFrame

LABELS = ("positive", "neutral", "negative")
REPOSITORY = "howardhsu/BERT-for-RRC-ABSA@2d194b1b2fb106c93e64b68513eff48ad0b99a9f"
SHA256 = {
    "train": "9a51a1b32c7fa487e9bdf98b594b9e8d757ab8a7eb5023eb2d03902e7cbab6f9",
    "dev": "e3a562ffdadd9d781e9d54a1b022c07c19ed7a992c99f5cf1f2c6050018af4ac",
    "test": "588d3f04badf0b4515686346f663cd8f541b3e15adc801e9968255b80d595a9e",
}


def _split(part: str) -> DataFrame:
    source = f"transformers/data/ft/asc/14/rest/{part}.json"
    content = read_pinned(PinnedFile(f"semeval14_restaurants/{part}.json", REPOSITORY, source, SHA256[part]))
    rows = json.loads(content).values()
    sentences = [row["sentence"] for row in rows]
    return make_frame(
        [row["term"] for row in rows],
        [LABELS.index(row["polarity"]) for row in rows],
        pairs=sentences,
        groups=map(text_hash, sentences),  # errors within a sentence are not independent
    )


DATASETS.register("restaurant")(
    DatasetInfo(
        display_name="Restaurant",
        label_names=LABELS,
        load=lambda: {"train": _split("train"), "val": _split("dev"), "test": _split("test")},
        content_hash="c36c8b61704b",
        num_rows={"train": 3452, "val": 150, "test": 1120},
        mean_tokens=27,
        licence="repository Apache-2.0; none stated for the data (SemEval-2014 organisers' terms apply)",
        homepage="https://github.com/howardhsu/BERT-for-RRC-ABSA",
    )
)
