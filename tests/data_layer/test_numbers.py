"""Numbers as labels: which values are numbers, how rows are split by them, and that the task is never guessed."""

import numpy as np
import pandas as pd
import pytest

from tunekit.data.base import content_hash, limit_and_carve
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.data.frame import dataset
from tunekit.data.labelling import checked_number
from tunekit.data.labels import BadValue
from tunekit.data.sources import DataSource, read_source
from tunekit.data.splitting import NUMBER_STRATA, strata_of
from tunekit.data.summary import summarise
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError

ROWS = pd.DataFrame({"text": [f"text {n}" for n in range(100)], "score": [n / 8 for n in range(100)]})


@pytest.mark.parametrize(
    ("value", "number"), [("3", 3), (" -0.5 ", -0.5), ("1e3", 1000), (7, 7), (2.5, 2.5), ("-0", 0), ("+4", 4)]
)
def test_a_number_is_a_number_as_python_writes_it(value, number):
    assert checked_number("score", value) == number
    assert str(checked_number("score", value))[0] != "-" or number < 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "empty target"),
        ("  ", "empty target"),
        (float("nan"), "empty target"),
        ("nan", "missing target"),
        ("NULL", "missing target"),
        ("high", "no number"),
        ("2,5", "no number"),
        ("1_000", "no number"),
        ("0x1", "no number"),
        (True, "no number"),
        ([1.0], "no number"),
        ("inf", "no finite number"),
        (float("-inf"), "no finite number"),
        (10**400, "no number"),
    ],
)
def test_what_is_no_number_is_refused(value, kind):
    with pytest.raises(BadValue) as problem:
        checked_number("score", value)
    assert problem.value.kind == kind


def test_bad_rows_are_refused_at_once_or_left_out_and_counted(tmp_path):
    rows = pd.concat([ROWS, pd.DataFrame({"text": ["x", "y"], "score": ["high", None]})])
    rows.to_csv(tmp_path / "a.csv", index=False)
    columns = {"label_column": "score", "task": "regression"}
    with pytest.raises(
        UserError, match="2 bad rows: line 102: column 'score' holds 'high'.*--skip-bad-rows"
    ) as problem:
        read_user_dataset(tmp_path / "a.csv", **columns)
    assert "\n" not in str(problem.value)
    data = read_user_dataset(tmp_path / "a.csv", **columns, skip_bad_rows=True)
    assert data.left_out == {"no number": 1, "empty target": 1}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"task": "regresion"}, "there is no task 'regresion' for data of your own"),
        ({"task": "classification"}, "looks like regression; --task regression declares it"),
        ({"label": "constant"}, "every target of train is 4; a regression needs targets that differ"),
    ],
)
def test_what_does_not_fit_the_declared_task_is_one_line(changes, problem):
    frame = ROWS.assign(constant=4.0)
    with pytest.raises(UserError, match=problem) as found:
        dataset(frame, **{"text": "text", "label": "score", "task": "regression", **changes})
    assert "\n" not in str(found.value)


def test_several_label_columns_are_no_regression(tmp_path):
    ROWS.assign(other=1).to_csv(tmp_path / "a.csv", index=False)
    source = DataSource(str(tmp_path / "a.csv"), label=("score", "other"), task="regression")
    with pytest.raises(UserError, match="label columns score, other are for --task multi_label; regression takes one"):
        read_source(source)


def test_a_config_file_declares_the_task(tmp_path):
    ROWS.to_csv(tmp_path / "a.csv", index=False)
    values = {"path": str(tmp_path / "a.csv"), "label": "score", "task": "regression"}
    source = DataSource.from_mapping(values)
    assert source.to_value() == values
    data, _ = read_source(source)
    assert data.name == f"a+regression-{data.content_hash}"
    assert data.splits["train"]["label"].dtype == np.float64


def test_whole_numbers_are_numbers_where_regression_was_declared():
    frame = ROWS.assign(score=range(100))
    data = dataset(frame, text="text", label="score", task="regression")
    assert data.splits["train"]["label"].dtype == np.float64
    other = dataset(frame.assign(score=[n % 3 for n in range(100)]), text="text", label="score")
    assert other.name == f"frame-{other.content_hash}"


def test_splits_have_the_shares_of_the_numbers():
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"text": [f"text {n}" for n in range(1000)], "score": generator.exponential(size=1000)})
    data = dataset(frame, text="text", label="score", task="regression")
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 800, "val": 100, "test": 100}
    bounds = np.quantile(frame["score"], np.linspace(0, 1, 6))
    for rows in data.splits.values():
        shares = np.histogram(rows["label"], bounds)[0] / len(rows)
        assert np.abs(shares - 0.2).max() < 0.04
    limited = limit_and_carve(data, train_limit=100, val_fraction=0, data_seed=0).splits["train"]
    assert np.abs(np.histogram(limited["label"], bounds)[0] / 100 - 0.2).max() < 0.04


def test_equal_numbers_are_one_stratum():
    assert len(set(strata_of([1.0] * 50 + [2.0] * 50))) == 2
    assert len(set(strata_of([float(n) for n in range(1000)]))) == NUMBER_STRATA
    assert strata_of([2, 0, 1]) == [2, 0, 1]


def test_data_is_read_back_as_it_was_saved(tmp_path):
    data = dataset(ROWS, text="text", label="score", task="regression")
    save_dataset(data, tmp_path, with_text=True)
    again = load_dataset(data.name, tmp_path)
    assert content_hash(again.splits, again.label_names) == data.content_hash
    for split, rows in data.splits.items():
        assert again.splits[split].equals(rows)


def test_the_summary_says_where_the_numbers_lie():
    data = dataset(ROWS, text="text", label="score", task="regression")
    shown = str(summarise(data))
    train = data.splits["train"]["label"]
    assert (
        f"targets of train: {train.min():g} to {train.max():g}, mean {train.mean():.4g}, std {train.std(ddof=0):.4g}"
        in shown
    )
    assert "classes" not in shown
    assert summarise(data).to_dict()["classes"] == {}
