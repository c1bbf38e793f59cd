"""ACL-ARC citation intent (Jurgens et al. 2018), the split of Cohan et al. 2019 as SciBERT publishes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tunekit.data.base import DATASETS, DatasetInfo, make_frame
from tunekit.data.files import PinnedFile, read_pinned

if TYPE_CHECKING:
    from pandas import DataFrame

LABELS = ("Uses", "Future", "CompareOrContrast", "Motivation", "Extends", "Background")
REPOSITORY = "allenai/scibert@06793f77d7278898159ed50da30d173cdc8fdea9"
SHA256 = {
    "train": "58eef60d2bbfdabefc3de25191714f769db03134523ef67e87d864112c67908c",
    "dev": "bc456ac8caf40829dc2d3a44801a385ad8463c80682cbf002c19329b35812b5f",
    "test": "749d083cc3141d54a2bf1475c02a5a1c020c664601d55fe2829bdf85f06db4bb",
}


def _split(part: str) -> DataFrame:
    source = f"data/text_classification/citation_intent/{part}.txt"
    content = read_pinned(PinnedFile(f"acl_arc/{part}.jsonl", REPOSITORY, source, SHA256[part]))
    rows = [json.loads(line) for line in content.split("\n") if line]
    return make_frame([row["text"] for row in rows], [LABELS.index(row["label"]) for row in rows])


DATASETS.register("acl_arc")(
    DatasetInfo(
        display_name="ACL-ARC",
        label_names=LABELS,
        load=lambda: {"train": _split("train"), "val": _split("dev"), "test": _split("test")},
        content_hash="fdd3aecce9e5",
        num_rows={"train": 1688, "val": 114, "test": 139},
        mean_tokens=54,
        licence="repository Apache-2.0; none stated for the data (ACL Anthology Reference Corpus)",
        homepage="https://github.com/allenai/scibert",
    )
)
