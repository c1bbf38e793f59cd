"""A user's file with several labels a row, through the commands: trials, report, exported model and its predictions."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from tests.support.exports import by_the_card
from tests.support.own_sweeps import check_trained_again, train_sweep
from tests.support.trials import specify
from tunekit.data.user import read_user_dataset
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PARTS = ("room", "food", "=staff")


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """A sweep of two methods and three seeds on a CSV of tags, with kept weights; its dataset and its specs."""
    folder = tmp_path_factory.mktemp("tagged")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(200):
        tags = [part for part in PARTS if generator.random() < 0.4]
        said = " and ".join(f"the {part.strip('=')} was bad" for part in tags) or "all was fine"
        rows.append({"review": f"visit {number}: {said}", "tags": "|".join(tags)})
    pd.DataFrame(rows).to_csv(folder / "tags.csv", index=False)
    data = read_user_dataset(
        folder / "tags.csv", text_column="review", label_column="tags", label_separator="|", task="multi_label"
    )
    sweep = folder / "sweep"
    specs = [
        specify(dataset=data.name, method=method, seed=seed, train_limit=None, epochs=3, learning_rate=5e-3)
        for method in ("full", "lora")
        for seed in (1, 2, 3)
    ]
    train_sweep(sweep, data, specs)
    return sweep, data, specs


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_exported_model_predicts_the_recorded_labels(method, tagged, said, tmp_path):
    sweep, data, specs = tagged
    line = ["--model", "tiny-bert", "--dataset", "tags+multi_label", "--method", method, "--seed", 2]
    code, _, error = said("export", sweep, *line, "--epoch", "last", "--to", tmp_path / "to")
    assert code == 0, error
    test = data.splits["test"]
    test[["text"]].to_csv(tmp_path / "new.csv", index=False)
    code, lines, error = said("predict", tmp_path / "to", tmp_path / "new.csv")
    assert code == 0, error
    table = list(csv.DictReader(lines))
    assert list(table[0]) == ["row", "labels", "p_=staff", "p_food", "p_room"]
    folder = ResultStore(sweep).folder(next(s for s in specs if (s.method, s.seed) == (method, 2)))
    stored = pd.read_parquet(folder / "predictions.parquet")
    stored = stored[(stored["split"] == "test") & (stored["epoch"] == 3)].set_index("item_id").loc[test["item_id"]]
    named = [
        "|".join(n for n, bit in zip(data.label_names, bits, strict=True) if bit == "1") for bits in stored["predicted"]
    ]
    assert [row["labels"].removeprefix("'") for row in table] == named
    assert not [row for row in table if row["labels"].startswith("=")]
    shares = 1 / (1 + np.exp(-np.stack(stored["logits"].to_list()).astype(float)))
    found = [[float(row[f"p_{name}"]) for name in data.label_names] for row in table]
    np.testing.assert_allclose(found, shares, atol=1e-4)
    manifest = json.loads((tmp_path / "to" / "tunekit.json").read_text())
    assert manifest["constants"] == ResultStore(sweep).read(folder).epochs[-1].constants
    config = json.loads(next((tmp_path / "to").rglob("config.json")).read_text())
    assert config["problem_type"] == "multi_label_classification"
    _, printed = by_the_card(tmp_path / "to")
    assert "[" in printed


def test_the_report_compares_on_new_text_and_says_what_is_left_out(tagged, said, tmp_path):
    sweep, *_ = tagged
    code, printed, error = said("report", sweep, "--out", tmp_path / "out", "--figures", "none")
    assert code == 0, error
    shown, page = "\n".join(printed), (tmp_path / "out" / "report.md").read_text()
    for caption in ("Micro-F1 (percent, test", "Macro-F1 (percent, test", "Average precision (percent, test"):
        assert caption in shown
    assert "Accuracy" not in shown
    assert "tags (multi label): calibration, ensembles of seeds, overlap of errors, confusion matrices" in page
    macro = pd.read_csv(tmp_path / "out" / "tables" / "methods-tiny-bert-macro-f1.csv")
    assert macro["holds_for"].dropna().eq("new texts from the same source").all()
    code, printed, _ = said("status", sweep)
    assert "Numbers are macro-F1 in percent after the last epoch" in " ".join(" ".join(printed).split())


def test_a_trial_trained_again_is_as_stored(tagged, tmp_path):
    sweep, _, specs = tagged
    check_trained_again(sweep, specs[0], tmp_path / "again")
