"""Trials that keep predictions of a small test part, whose items are hard or easy as asked."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tests.support.stores import add
from tunekit.schema import TrialSpec
from tunekit.store.result_store import ResultStore


def add_predicted(store: ResultStore, spec: TrialSpec, right: Sequence[bool], ids: str = "i") -> None:
    """A trial of the demo dataset whose run is right on the items where ``right`` is true, of two classes by turns."""
    hits = np.asarray(right)
    gold = np.arange(len(hits)) % 2
    predicted = np.where(hits, gold, 1 - gold)
    frame = pd.DataFrame(
        {
            "split": "test", "epoch": 1, "item_id": [f"{ids}{n}" for n in range(len(hits))],
            "group_id": [f"g{n}" for n in range(len(hits))], "gold": gold.astype("int32"),
            "predicted": predicted.astype("int32"), "logits": [[0.0, 0.0]] * len(hits),
        }
    )  # fmt: skip
    add(store, spec, [float(hits.mean())])
    store.write_predictions(store.folder(spec), frame)
