"""A user's file of texts and scores, through the commands: its trials, its report, its exported model's predictions."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from tests.support.exports import by_the_card
from tests.support.own_sweeps import check_trained_again, train_sweep
from tests.support.trials import specify
from tunekit.data.base import task_name
from tunekit.data.user import read_user_dataset
from tunekit.export.verify import compared
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WORDS = {"awful": -300, "poor": -100, "fine": 120, "superb": 340}
"""What a word adds to a price, so that the target's unit is far from that of a logit."""


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """A sweep of two methods and three seeds on a CSV of prices, with kept weights; the file, and its dataset."""
    folder = tmp_path_factory.mktemp("priced")
    generator = np.random.default_rng(0)
    rows = [
        {"review": f"the {thing} number {n} is {word}", "price": round(1000 + gain + float(generator.normal(0, 20)), 1)}
        for n in range(20)
        for thing in ("lamp", "chair")
        for word, gain in WORDS.items()
    ]
    pd.DataFrame(rows).to_csv(folder / "prices.csv", index=False)
    data = read_user_dataset(folder / "prices.csv", text_column="review", label_column="price", task="regression")
    sweep = folder / "sweep"
    specs = [
        specify(dataset=data.name, method=method, seed=seed, train_limit=None, epochs=2, learning_rate=5e-3)
        for method in ("full", "lora")
        for seed in (1, 2, 3)
    ]
    train_sweep(sweep, data, specs)
    return sweep, folder / "prices.csv", data, specs


def test_the_name_says_the_task_on_every_machine(priced):
    _, path, data, _ = priced
    assert data.name.startswith("prices+regression-")
    assert task_name(data.name) == "regression"
    assert data.label_names == ("price",)
    as_classes = path.with_name("classes.csv")
    pd.read_csv(path).assign(label="a", text="b").to_csv(as_classes, index=False)
    assert task_name("prices-0123456789ab") == task_name("a+regression-b") == "classification"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_exported_model_predicts_what_was_recorded_in_the_targets_unit(method, priced, said, tmp_path):
    sweep, path, data, specs = priced
    line = ["--model", "tiny-bert", "--dataset", "prices+regression", "--method", method, "--seed", 2]
    code, printed, error = said("export", sweep, *line, "--epoch", "last", "--to", tmp_path / "to")
    assert code == 0, error
    assert "predicts what the trial recorded" in " ".join(printed) + error
    test = data.splits["test"]
    test[["text"]].to_csv(tmp_path / "new.csv", index=False)
    code, lines, error = said("predict", tmp_path / "to", tmp_path / "new.csv")
    assert code == 0, error
    table = list(csv.DictReader(lines))
    assert list(table[0]) == ["row", "prediction"]
    folder = ResultStore(sweep).folder(next(s for s in specs if (s.method, s.seed) == (method, 2)))
    stored = pd.read_parquet(folder / "predictions.parquet")
    stored = stored[(stored["split"] == "test") & (stored["epoch"] == 2)].set_index("item_id").loc[test["item_id"]]
    assert [float(row["prediction"]) for row in table] == pytest.approx(stored["predicted"].tolist(), rel=1e-4)
    assert 500 < float(table[0]["prediction"]) < 1500
    manifest = json.loads((tmp_path / "to" / "tunekit.json").read_text())
    assert manifest["task"] == "regression"
    assert manifest["constants"] == ResultStore(sweep).read(folder).epochs[-1].constants
    assert json.loads(next((tmp_path / "to").rglob("config.json")).read_text())["problem_type"] == "regression"
    names, text = by_the_card(tmp_path / "to")
    inputs = names["tokenizer"]("a text", return_tensors="pt")
    constants = manifest["constants"]
    expected = constants["target_mean"] + constants["target_std"] * names["model"](**inputs).logits.item()
    assert float(text) == pytest.approx(expected)


def test_the_report_has_the_scores_in_their_units_and_says_what_is_left_out(priced, said, tmp_path):
    sweep, *_ = priced
    code, printed, error = said("report", sweep, "--out", tmp_path / "out", "--figures", "none")
    assert code == 0, error
    shown, page = "\n".join(printed), (tmp_path / "out" / "report.md").read_text()
    for caption in ("Pearson's r (test, last epoch)", "Spearman's rho (test, last epoch)", "RMSE (test, last epoch)"):
        assert caption in shown
    assert "prices: regression; 126 training, 17 validation and 17 test items" in page
    assert "percent" not in page.split("## Scores")[1].split("##")[0]
    assert "prices (regression): calibration, ensembles of seeds, overlap of errors, confusion matrices" in page
    table = pd.read_csv(tmp_path / "out" / "tables" / "methods-tiny-bert-rmse.csv")
    assert table["tested"].tolist()[1:] or table["holds_for"].dropna().eq("new texts from the same source").all()
    assert table["mean"].between(1, 2000).all(), "RMSE is in the unit of the target"
    best = table.loc[table["standing"] == "best", "mean"].min()
    assert best == table["mean"].min(), "of an error the smallest is the best"
    code, _, error = said("report", sweep, "--out", tmp_path / "by-rmse", "--figures", "none", "--metric", "rmse")
    assert code == 0, error
    best, other = table.sort_values("mean")["row"]
    answer = (tmp_path / "by-rmse" / "report.md").read_text().split("## Data and training")[0]
    assert f"prices: {best} " in answer
    assert "lowest mean RMSE" in answer or "is best by mean RMSE" in answer
    assert f" below {other} (95 % interval" in answer.replace("\\", "")
    code, printed, _ = said("status", sweep)
    assert "Numbers are Pearson's r after the last epoch" in " ".join(" ".join(printed).split())


def test_a_trial_trained_again_is_as_stored(priced, tmp_path):
    sweep, _, _, specs = priced
    trial, again = check_trained_again(sweep, specs[0], tmp_path / "again")
    path = again.folder / "predictions.parquet"
    pd.read_parquet(path).assign(predicted=lambda rows: rows["predicted"] + 1).to_parquet(path)
    assert compared(trial, again)[0] == ["100.00 % of the predictions changed"]
