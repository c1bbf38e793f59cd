"""Small files that stand for large ones: refused before they fill the memory, in one line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import predictions
from analysis.foreign.importing import import_experiment
from analysis.foreign.mapping import parse_map
from tests.support.records import FINGERPRINT, record
from tests.support.trials import specify
from tunekit.data import tables
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError
from tunekit.parsing import read_yaml, strict_json
from tunekit.store import records
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore

LAUGHS = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "aliases"),
        ("[" * 5000, "deep"),
        ("{a: " * 5000, "deep"),
        ("a: 1\na: 2", "occurs twice"),
        ("x: " + "y" * 2_000_000, "larger than"),
        ("!!python/object/apply:os.mkdir [x]", "could not determine a constructor"),
    ],
)
def test_yaml(tmp_path, text, message):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_yaml(path, str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 51 + "]" * 51, '{"a":' * 60 + "1" + "}" * 60, "NaN", '"\\ud800"', "9" * 5000, "Infinity"],
)
def test_json(text):
    with pytest.raises(ValueError):  # noqa: PT011  (which one is the parser's)
        strict_json(text)


def test_json_of_sane_depth_is_read():
    assert strict_json("[" * 50 + "]" * 50)
    assert strict_json('"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


def test_a_record_larger_than_any(tmp_path, monkeypatch):
    store = ResultStore(tmp_path / "sweep")
    folder = store.open_trial(specify(), FINGERPRINT)
    store.write_epochs(folder, [record(1)])
    monkeypatch.setattr(records, "MAX_BYTES", (folder / "spec.json").stat().st_size - 1)
    found, damaged = store.trials()
    assert found == []
    assert "larger than" in damaged[0]


def test_predictions_of_too_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_ROWS", 10)
    row = {"split": "test", "epoch": 1, "item_id": "a", "group_id": "a", "gold": 0, "predicted": 0}
    pq.write_table(pa.table({name: [value] * 11 for name, value in row.items()}), tmp_path / "predictions.parquet")
    with pytest.raises(DamagedRecord, match="once unpacked"):
        predictions.read_predictions(tmp_path, "test", 1)


def test_a_data_file_of_too_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROWS", 10)
    pq.write_table(pa.table({"text": ["a"] * 11, "label": ["x"] * 11}), tmp_path / "mine.parquet")
    with pytest.raises(UserError, match="once unpacked"):
        read_user_dataset(tmp_path / "mine.parquet")


def test_an_experiment_that_claims_a_billion_iterations(tmp_path):
    place = tmp_path / "experiment" / "trial"
    place.mkdir(parents=True)
    (place / "params.json").write_text('{"seed": 1}')
    rows = [{"training_iteration": number, "f1": 0.5} for number in (1, 10**9)]
    (place / "result.json").write_text("\n".join(map(json.dumps, rows)))
    mapping = parse_map(["model:=x", "dataset:=y", "method:=z", "seed=seed", "test_f1=f1"])
    done = import_experiment(place.parent, mapping, tmp_path / "store")
    assert done.num_trials == 1
    assert any("no whole number from 1 to" in note for note in done.notes)
