"""A small store that a real Ray run wrote (tests/data/golden_store) loads to the table that its records say."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from analysis.cells import cells
from analysis.report.comparisons import against_best
from analysis.statistics.this_set import mean_interval
from analysis.sweep_records import read_sweeps
from analysis.tables.build import build
from analysis.tables.render import markdown
from analysis.tables.specs import default_specs, settings_specs
from tests.support.stores import GOLDEN

TABLE = """\
| | Demo |
|---|---:|
| full fine-tuning | **45.87 ± 0.87** |
| LoRA | 18.12 ± 0.00 <sup>a</sup> |
"""
SETTINGS = """\
| | validation | test |
|---|---:|---:|
| full fine-tuning, lr 0.001 | 25.86 ± 13.00 <sup>a</sup> | 26.31 ± 14.19 <sup>a</sup> |
| full fine-tuning, lr 0.002 (chosen) | 46.68 ± 1.30 | 45.87 ± 0.87 |
"""


@pytest.fixture
def golden(tmp_path):
    """A copy: reading a store writes its cache."""
    return shutil.copytree(GOLDEN, tmp_path / "golden")


def last_scores(root, method, learning_rate, metric):
    """The metric after the last epoch of each trial, read by hand."""
    found = {}
    for folder in (root / "trials").iterdir():
        spec = json.loads((folder / "spec.json").read_text())["spec"]
        if (spec["method"], spec["learning_rate"]) == (method, learning_rate):
            found[spec["seed"]] = json.loads((folder / "epochs.jsonl").read_text().splitlines()[-1])[metric]
    return [found[seed] for seed in sorted(found)]


def test_it_loads_to_the_expected_table(golden):
    (spec,) = default_specs(cells(read_sweeps([golden])), ["macro_f1"])
    text = markdown(build(spec))
    assert TABLE in text.replace("|  |", "| |")
    assert "a: 3 of the runs predicted one class only" in text
    assert "Demo lr 0.002 (best mean macro-F1 on validation of 2 configurations)" in text


def test_all_settings_stand_in_a_table_of_their_own_validation_beside_test(golden):
    (spec,) = settings_specs(cells(read_sweeps([golden])), ["macro_f1"])
    text = markdown(build(spec))
    assert SETTINGS in text.replace("|  |", "| |")
    assert "2 of the runs predicted one class only" in text


def test_means_intervals_and_p_are_scipys(golden):
    (spec,) = default_specs(cells(read_sweeps([golden])), ["accuracy"])
    table = build(spec)
    best = last_scores(golden, "full", 0.002, "test_accuracy")
    other = last_scores(golden, "lora", 0.001, "test_accuracy")
    sample = table.entries[0, "demo"].score.sample
    assert (sample.mean, sample.std) == pytest.approx((np.mean(best), np.std(best, ddof=1)))
    interval = mean_interval(sample)
    expected = stats.t.interval(0.95, 2, loc=np.mean(best), scale=stats.sem(best))
    assert (interval.low, interval.high) == pytest.approx(expected)
    (compared,) = against_best(table)
    assert compared.this_set.p == pytest.approx(stats.ttest_ind(other, best, equal_var=False).pvalue)


def test_stored_scores_are_those_of_the_stored_predictions(golden):
    for cell in cells(read_sweeps([golden])):
        for run in cell.trials:
            frame = pd.read_parquet(run.path / "predictions.parquet")
            kept = frame[(frame["split"] == "test") & (frame["epoch"] == run.epoch)]
            score = f1_score(kept["gold"], kept["predicted"], average="macro", labels=range(3), zero_division=0)
            assert cell.by_seed("macro_f1")[run.seed] == pytest.approx(score, abs=1e-12)
