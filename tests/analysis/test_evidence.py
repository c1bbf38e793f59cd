"""What stands behind the tables: failed trials filled in on request, the price of choosing an epoch, provenance."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from analysis.__main__ import main
from analysis.cells import cells
from analysis.report.evidence import intervals_section, selection_section
from analysis.report.majority import filled_with_majority
from analysis.statistics.this_set import mean_interval
from analysis.sweep_records import read_sweeps
from tests.support.cells import cell_of
from tests.support.stores import GOLDEN, add, ask
from tunekit.errors import UserError
from tunekit.store.result_store import ResultStore


@pytest.fixture
def failed(tmp_path):
    """The golden store, one LoRA trial of it failed."""
    root = shutil.copytree(GOLDEN, tmp_path / "golden")
    (folder,) = (root / "trials").glob("tiny-bert-demo-lora-s1-*")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "status": "failed", "error": "it fell over"}))
    return root


def lora(found):
    return next(cell for cell in found if cell.method == "lora")


def test_a_failed_trial_counts_with_the_majority_class_on_request_only(failed):
    records = read_sweeps([failed])
    assert sorted(lora(cells(records)).by_seed("accuracy")) == [2, 3]
    filled = lora(filled_with_majority(records, cells(records)))
    (copy,) = (failed / "data").glob("*.parquet")
    rows = pd.read_parquet(copy)
    usual = rows[rows["split"] == "train"]["label"].mode()[0]
    gold = rows[rows["split"] == "test"]["label"].to_numpy()
    assert filled.by_seed("accuracy")[1] == pytest.approx((gold == usual).mean())
    macro = f1_score(gold, np.full(len(gold), usual), average="macro", labels=range(3), zero_division=0)
    assert filled.by_seed("macro_f1")[1] == pytest.approx(macro)
    assert not filled.failures


@pytest.mark.slow
def test_the_table_says_what_was_filled(failed, tmp_path, capsys):
    assert main([str(failed), "--out", str(tmp_path / "out"), "--missing", "majority", "--figures", "none"]) == 0
    report = (tmp_path / "out" / "report.md").read_text()
    assert "1 failed, counted with the score of the majority class" in report
    assert "it fell over" in report
    capsys.readouterr()


def test_without_a_copy_of_the_data_nothing_is_filled(failed):
    shutil.rmtree(failed / "data")
    records = read_sweeps([failed])
    with pytest.raises(UserError, match="no sweep keeps a copy of demo"):
        filled_with_majority(records, cells(records))


def test_the_optimism_of_the_best_test_epoch_is_shown(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    ask(store, [make_spec(seed=seed) for seed in (1, 2)])
    for seed in (1, 2):
        add(store, make_spec(seed=seed), [0.5, 0.8, 0.6])  # validation is best where test is worst
    (grid,) = selection_section(read_sweeps([store.root])).blocks[1:]
    ((_, last, by_val, best, optimism),) = grid.rows
    assert (last, by_val, best, optimism) == ("60.00 ± 0.00", "50.00 ± 0.00", "80.00 ± 0.00", "+30.00")


def test_intervals_of_means_are_those_of_the_statistics(tmp_path):
    root = shutil.copytree(GOLDEN, tmp_path / "golden")
    found = cells(read_sweeps([root]))
    grid = intervals_section(found).blocks[1]
    best = next(cell for cell in found if cell.settings["learning_rate"] == 0.002)
    interval = mean_interval(best.sample("accuracy"))
    row = next(row for row in grid.rows if row[0].text == best.title and row[1] == "accuracy")
    assert row[4] == f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
    assert ", " in row[5]


@pytest.mark.parametrize(
    ("scores", "reason"), [([0.5, 0.6], "fewer than 3 seeds"), ([0.5, 0.5, 0.5], "nothing varies")]
)
def test_a_mean_without_an_interval_has_the_reason_in_its_place(scores, reason):
    (row, *_) = intervals_section([cell_of(scores)]).blocks[1].rows
    assert (row[4], row[6]) == (reason, reason)
