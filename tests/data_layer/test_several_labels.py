"""Several labels a row: in columns of 0 and 1, or in one column with a separator; what is neither is refused."""

import numpy as np
import pandas as pd
import pytest

from tunekit.data.base import content_hash
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.data.frame import dataset
from tunekit.data.labels import BadValue, checked_bit
from tunekit.data.sources import DataSource, read_source
from tunekit.data.splitting import strata_of
from tunekit.data.summary import summarise
from tunekit.errors import UserError

BITS = [(n % 2, int(n % 5 == 0), int(n % 25 == 0)) for n in range(200)]
COLUMNS = pd.DataFrame(
    {"text": [f"text {n}" for n in range(200)], **dict(zip("abc", zip(*BITS, strict=True), strict=True))}
)
JOINED = COLUMNS[["text"]].assign(
    labels=[" | ".join(name for name, has in zip("abc", row, strict=True) if has) for row in BITS]
)
SEVERAL = {"text": "text", "task": "multi_label"}


def test_both_spellings_are_the_same_dataset(tmp_path):
    in_columns = dataset(COLUMNS, label=["a", "b", "c"], **SEVERAL)
    joined = dataset(JOINED, label="labels", label_separator="|", **SEVERAL)
    assert in_columns.label_names == joined.label_names == ("a", "b", "c")
    assert in_columns.content_hash == joined.content_hash
    assert in_columns.name == f"frame+multi_label-{in_columns.content_hash}"
    COLUMNS.to_csv(tmp_path / "frame.csv", index=False)
    values = {"path": str(tmp_path / "frame.csv"), "label": ["a", "b", "c"], "task": "multi_label"}
    source = DataSource.from_mapping(values)
    assert source.to_value() == values
    assert read_source(source)[0].name == in_columns.name
    JOINED.to_csv(tmp_path / "frame.csv", index=False)
    source = DataSource(str(tmp_path / "frame.csv"), label="labels", label_separator="|", task="multi_label")
    assert read_source(source)[0].name == in_columns.name


def test_each_part_has_its_share_of_each_label():
    data = dataset(COLUMNS, label=["a", "b", "c"], **SEVERAL)
    shares = np.mean(BITS, axis=0)
    for split, rows in data.splits.items():
        found = np.array(rows["label"].to_list()).mean(axis=0)
        assert np.abs(found - shares).max() < (0.03 if split == "train" else 0.16), split
    assert strata_of([(1, 0), (1, 1), (0, 0)]) == [0, 1, 2]


def test_data_is_read_back_as_it_was_saved(tmp_path):
    data = dataset(COLUMNS, label=["a", "b", "c"], **SEVERAL)
    save_dataset(data, tmp_path, with_text=True)
    again = load_dataset(data.name, tmp_path)
    assert content_hash(again.splits, again.label_names) == data.content_hash
    for split, rows in data.splits.items():
        assert again.splits[split].equals(rows)


def test_the_summary_counts_the_rows_of_each_label():
    found = summarise(dataset(COLUMNS, label=["a", "b", "c"], **SEVERAL))
    assert {name: sum(counts[name] for counts in found.classes.values()) for name in "abc"} == {
        "a": 100, "b": 40, "c": 8,
    }  # fmt: skip
    assert "3 labels" in str(found)


@pytest.mark.parametrize(("value", "bit"), [("0", 0), (" 1 ", 1), (1, 1), (0.0, 0), (True, 1), ("1.0", 1)])
def test_what_is_a_bit(value, bit):
    assert checked_bit("a", value) == bit


@pytest.mark.parametrize("value", ["2", "yes", 0.5, -1, "true", [1], None, "", float("nan")])
def test_what_is_no_bit_is_refused(value):
    with pytest.raises(BadValue):
        checked_bit("a", value)


@pytest.mark.parametrize(
    ("frame", "changes", "problem"),
    [
        (COLUMNS.assign(b="x"), {"label": ["a", "b"]}, "column 'b' holds 'x', which is neither 0 nor 1"),
        (COLUMNS, {"label": "a"}, "multi_label takes several label columns of 0 and 1, or one with --label-separator"),
        (COLUMNS, {"label": ["a", "b"], "label_separator": "|"}, "not both"),
        (COLUMNS, {"label": ["a", "b"], "task": "classification"}, "label columns a, b are for --task multi_label"),
        (JOINED, {"label": "labels", "label_separator": "|", "task": "regression"}, "a label separator is for --task"),
        (COLUMNS.assign(b=0, c=0), {"label": ["a", "b", "c"]}, "only 'a' occurs in train; at least two are needed"),
        (
            COLUMNS.assign(c="a|nan"),
            {"label": "c", "label_separator": "|"},
            "'nan' in column 'c' marks a missing label",
        ),
        (COLUMNS, {"label": "a", "label_separator": "|"}, "column 'a' holds int, not a text of labels"),
        (COLUMNS, {"label": ["a", "text"]}, "text, pair and label must be different columns"),
    ],
)
def test_what_does_not_fit_is_one_line(frame, changes, problem):
    with pytest.raises(UserError, match=problem.replace("|", r"\|")) as found:
        dataset(frame, **{**SEVERAL, **changes})
    assert "\n" not in str(found.value)


def test_a_label_that_train_lacks_is_refused():
    frame = pd.concat([JOINED.assign(part="train"), pd.DataFrame({"text": ["x"], "labels": ["a|d"], "part": ["test"]})])
    with pytest.raises(UserError, match="label 'd' of test never occurs in train"):
        dataset(frame, label="labels", label_separator="|", split="part", **SEVERAL)
