"""What holds for the rows of every dataset, registered or read by a short name from the hub."""

import numpy as np

from tunekit.data.base import TextDataset
from tunekit.tasks import task_of

COLUMNS = ["text", "pair", "label", "group", "item_id"]


def check_rows(data: TextDataset) -> None:
    """Assert that every split of ``data`` has the columns, and labels of the form, that trials take."""
    form = task_of(data.name).form
    ids = [item for frame in data.splits.values() for item in frame["item_id"]]
    assert len(set(ids)) == len(ids)
    for frame in data.splits.values():
        assert list(frame.columns) == COLUMNS
        assert list(frame.index) == list(range(len(frame)))
        assert all(pair is None or isinstance(pair, str) for pair in frame["pair"])
        assert all(isinstance(text, str) and text.strip() for text in frame["text"])
        if form == "number":
            assert frame["label"].dtype == np.float64
            assert np.isfinite(frame["label"]).all()
        elif form == "labels":
            assert {len(label) for label in frame["label"]} == {len(data.label_names)}
            assert {bit for label in frame["label"] for bit in label} == {0, 1}
        elif form == "tags":
            words, tags = ([text.split(" ") for text in frame[column]] for column in ("text", "label"))
            assert list(map(len, words)) == list(map(len, tags))
            assert {tag for own in tags for tag in own} <= set(data.label_names)
        else:
            assert set(frame["label"]) <= set(range(len(data.label_names)))
