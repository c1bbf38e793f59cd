"""Copies of the hub's datasets that go by short names: generated rows in their real columns, files and configurations.

The texts are generated. Columns, their kinds, the names of classes, configurations and splits, and the paths of files
are those of the repositories on the hub.
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.support.hub_server import FakeHub
from tunekit.data.hub_catalog import HUB_DATASETS
from tunekit.data.hub_ids import HubDataset

TEXT, FLOAT, INT = ({"_type": "Value", "dtype": kind} for kind in ("string", "float32", "int32"))
SIZES = {"train": 90, "validation": 24, "test": 24}
OF_MNLI = {
    "train": 90, "validation_matched": 24, "validation_mismatched": 12, "test_matched": 12, "test_mismatched": 12,
}  # fmt: skip
ANSWERS = ("entailment", "not_entailment")
GLUE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cola": (("sentence",), ("unacceptable", "acceptable")),
    "sst2": (("sentence",), ("negative", "positive")),
    "mrpc": (("sentence1", "sentence2"), ("not_equivalent", "equivalent")),
    "qqp": (("question1", "question2"), ("not_duplicate", "duplicate")),
    "stsb": (("sentence1", "sentence2"), ()),
    "mnli": (("premise", "hypothesis"), ("entailment", "neutral", "contradiction")),
    "qnli": (("question", "sentence"), ANSWERS),
    "rte": (("sentence1", "sentence2"), ANSWERS),
    "wnli": (("sentence1", "sentence2"), ANSWERS[::-1]),
}
"""The columns of texts and the names of the classes of each configuration."""
EMOTIONS = (
    "admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire",
    "disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy",
    "love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral",
)  # fmt: skip
TYPES = {
    "conll2003": ("PER", "ORG", "LOC", "MISC"),
    "wnut_17": ("corporation", "creative-work", "group", "location", "person", "product"),
}
WORDS = ("soup", "bread", "waiter", "music", "light", "table", "price", "door", "wine", "lamb", "coffee", "garden")
EMPTY_QUESTION = 7
"""The row of QQP's train split that has an empty second question."""


def hub_of(folder: Path) -> FakeHub:
    """Write a copy of each repository below ``folder``; return a hub of all of them, not started yet."""
    glue, emotions = ({HUB_DATASETS[name].source.path for name in names} for names in (GLUE, ("go_emotions",)))
    [commit] = {HubDataset.parse(path).revision for path in glue}
    [of_emotions] = {HubDataset.parse(path).revision for path in emotions}
    assert commit
    assert of_emotions
    others = [
        FakeHub(_go_emotions(folder / "b"), "dataset", (), "google-research-datasets/go_emotions", of_emotions),
        *(
            FakeHub(_tags(folder / config, config), "dataset", ("refs/convert/parquet",), name, str(number) * 40)
            for number, (name, config) in enumerate(
                {"eriktks/conll2003": "conll2003", "leondz/wnut_17": "wnut_17"}.items(), 1
            )
        ),
    ]
    return FakeHub(_glue(folder / "glue"), "dataset", ("main",), "nyu-mll/glue", commit, others)


def _classes(names: Sequence[str]) -> dict[str, Any]:
    return {"_type": "ClassLabel", "names": list(names)}


def _write(path: Path, features: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as the library ``datasets`` does, with what it says of the columns in the schema's metadata."""

    def kind(feature: Any) -> pa.DataType:
        if isinstance(feature, list):
            return pa.list_(kind(feature[0]))
        if feature["_type"] == "Sequence":
            return pa.list_(kind(feature["feature"]))
        names = {"string": pa.string(), "float32": pa.float32(), "int32": pa.int32()}
        return pa.int64() if feature["_type"] == "ClassLabel" else names[feature["dtype"]]

    schema = pa.schema({name: kind(feature) for name, feature in features.items()})
    said = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema.with_metadata(said)), path)


def _card(folder: Path, configs: Mapping[str, Sequence[str]]) -> None:
    """Write the README that says which files are which split of which configuration."""
    listed = [
        {
            "config_name": config,
            "data_files": [{"split": split, "path": f"{config}/{split}-*"} for split in splits],
        }
        for config, splits in configs.items()
    ]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n", encoding="utf-8")


def _sentence(rng: random.Random, word: str) -> str:
    return " ".join(["the", *(rng.choice(WORDS) for _ in range(rng.randint(3, 8))), word, "."])


def _glue(folder: Path) -> Path:
    rng = random.Random(0)
    for config, (texts, names) in GLUE.items():
        features = {**dict.fromkeys(texts, TEXT), "label": _classes(names) if names else FLOAT, "idx": INT}
        for split, size in (OF_MNLI if config == "mnli" else SIZES).items():
            rows: list[dict[str, Any]] = []
            for place in range(size):
                label = place % len(names) if names else round(5 * rng.random(), 2)
                word = WORDS[int(label)]
                row: dict[str, Any] = {name: _sentence(rng, word) for name in texts}
                rows.append({**row, "label": -1 if split.startswith("test") else label, "idx": place})
            if config == "qqp" and split == "train":
                rows[EMPTY_QUESTION]["question2"] = ""
            _write(folder / config / f"{split}-00000-of-00001.parquet", features, rows)
    _card(folder, {config: [*(OF_MNLI if config == "mnli" else SIZES)] for config in GLUE})
    return folder


def _go_emotions(folder: Path) -> Path:
    rng = random.Random(1)
    features = {"text": TEXT, "labels": {"_type": "Sequence", "feature": _classes(EMOTIONS)}, "id": TEXT}
    for split, size in SIZES.items():
        rows = [
            {
                "text": _sentence(rng, WORDS[place % len(WORDS)]),
                "labels": sorted({place % 28, rng.randrange(28)} if place % 3 else {place % 28}),
                "id": f"{split}{place}",
            }
            for place in range(size)
        ]
        _write(folder / "simplified" / f"{split}-00000-of-00001.parquet", features, rows)
    _card(folder, {"simplified": [*SIZES]})
    return folder


def _tags(folder: Path, config: str) -> Path:
    """Write the hub's own conversion of a dataset of tagged words, which has no README."""
    rng = random.Random(2)
    names = ["O", *(f"{first}-{kind}" for kind in TYPES[config] for first in "BI")]
    features = {
        "id": TEXT,
        "tokens": {"_type": "Sequence", "feature": TEXT},
        "ner_tags": {"_type": "Sequence", "feature": _classes(names)},
    }
    for split, size in SIZES.items():
        rows = []
        for place in range(size):
            begun = 1 + 2 * (place % len(TYPES[config]))
            words = [rng.choice(WORDS) for _ in range(rng.randint(3, 8))]
            rows.append(
                {
                    "id": str(place),
                    "tokens": [*words, f"Name{begun}", "Second"],
                    "ner_tags": [0] * len(words) + [begun, begun + 1],
                }
            )
        _write(folder / config / split / "0000.parquet", features, rows)
    return folder
