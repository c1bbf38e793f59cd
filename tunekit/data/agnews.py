"""AG News topics: the study's 7.6k variant (a 90/10 split of the official test file) and the full corpus."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING

from tunekit.data.base import DATASETS, PINNED, DatasetInfo, make_frame
from tunekit.data.files import PinnedFile, read_pinned
from tunekit.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

LABELS = ("World", "Sports", "Business", "Sci/Tech")
LICENCE = "for research and other non-commercial activity (AG corpus readme); no licence file"
TEST_CSV = PinnedFile(
    "agnews/test.csv",
    "mhjabreel/CharCnn_Keras@555590db4219b1243abb1918effd6a7425a2d75f",
    "data/ag_news_csv/test.csv",
    "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699",
)
SPLIT_SEED = 2024
TEST_ROWS_SHA256 = "63ebc39978cb151f14a732a80b2549214bef81f825c0d49051178df999f60ba7"
"""The sha256 of the 760 row numbers of the test part, one a line: numpy does not promise its streams for ever."""
HUB_ID = "fancyzhx/ag_news"
HUB_REVISION = "eb185aade064a813bc0b7f42de02595523103ca4"


def _load_7k6() -> dict[str, DataFrame]:
    import numpy as np

    rows = list(csv.reader(io.StringIO(read_pinned(TEST_CSV), newline="")))
    texts = [f"{title} {description}" for _, title, description in rows]
    labels = [int(index) - 1 for index, _, _ in rows]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rows)).tolist()
    test, train = order[:760], order[760:]
    if hashlib.sha256("".join(f"{row}\n" for row in test).encode()).hexdigest() != TEST_ROWS_SHA256:
        raise UserError(f"agnews_7k6: numpy {np.__version__} draws another split than the study's; install numpy 2")
    return {
        split: make_frame([texts[r] for r in part], [labels[r] for r in part])
        for split, part in (("train", train), ("test", test))
    }


def _load_full() -> dict[str, DataFrame]:
    import datasets

    try:
        hub = datasets.load_dataset(HUB_ID, revision=HUB_REVISION)
    except (OSError, ValueError) as error:  # no network, or offline mode without a cached copy
        raise UserError(
            f"cannot load {HUB_ID} at revision {HUB_REVISION[:12]} from the hub ({type(error).__name__}): copy a "
            "filled HF_HOME from a machine that has it, set HF_ENDPOINT to a mirror, pass your own files by "
            "--datasets FOLDER, or use agnews_7k6"
        ) from error
    splits = {split: make_frame(list(hub[split]["text"]), list(hub[split]["label"])) for split in ("train", "test")}
    for split, frame in splits.items():
        counts = frame["label"].value_counts().to_dict()
        if counts != dict.fromkeys(range(4), len(frame) // 4):
            raise UserError(f"{HUB_ID}: {split} has rows {counts} a label, expected as many of each of 4 labels")
    return splits


DATASETS.register("agnews_7k6")(
    DatasetInfo(
        display_name="AG News (7.6k)",
        label_names=LABELS,
        load=_load_7k6,
        content_hash="e249992ca040",
        num_rows={"train": 6840, "test": 760},
        mean_tokens=53,
        licence=LICENCE,
        homepage="https://github.com/mhjabreel/CharCnn_Keras",
    )
)
DATASETS.register("agnews")(
    DatasetInfo(
        display_name="AG News",
        label_names=LABELS,
        load=_load_full,
        # The commit is the pin: no copy could be had to compute the rows' own hash. Counts are checked on loading.
        content_hash=PINNED + HUB_REVISION[:12],
        num_rows={"train": 120000, "test": 7600},
        mean_tokens=53,
        licence=LICENCE,
        homepage=f"https://huggingface.co/datasets/{HUB_ID}",
    )
)
