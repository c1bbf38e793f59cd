"""runs.csv and epochs.csv hold all numbers of a report, and an import of either gives the same table."""

import io
import shutil

import pandas as pd
import pytest

from analysis.cells import cells
from analysis.report.data_files import data_files
from analysis.results import load
from analysis.sweep_records import read_sweeps
from tests.support.imports import imported
from tests.support.stores import GOLDEN, add, ask
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore


@pytest.fixture
def store(tmp_path, make_spec):
    """A store with several settings, methods of unlike settings, and trials that failed or were not trained."""
    store = ResultStore(tmp_path / "sweep")
    specs = [
        make_spec(method=m, seed=s, learning_rate=r) for m in ("full", "lora") for s in (1, 2, 3) for r in (1e-4, 3e-5)
    ]
    for number, spec in enumerate(specs):
        status = Status.DIVERGED if number == 4 else Status.STOPPED if number == 7 else Status.COMPLETED
        add(store, spec, [0.1 + number / 30, 1 / (number + 3)], status)
    ask(store, [*specs, make_spec(method="full", seed=4, learning_rate=1e-4)])
    return store


def written(root, tmp_path, name):
    """One of the files, as the report on ``root`` holds it, in a folder of its own."""
    place = tmp_path / name.removesuffix(".csv") / name
    place.parent.mkdir()
    place.write_text(data_files(read_sweeps([root]))[name], encoding="utf-8")
    return place


def shown(root):
    """What a table shows: each score with its mean, std and n, its failures, and the label of its row."""
    found = {}
    for metric in ("accuracy", "macro_f1"):
        table = load(root).table(metric)
        for (number, column), entry in table.entries.items():
            score = entry.score
            found[metric, table.spec.rows[number].label, column] = (score.sample, dict(score.failures), entry.bold)
    return found


@pytest.mark.parametrize("name", ["runs.csv", "epochs.csv"])
def test_an_import_of_a_reports_file_gives_the_same_table(store, tmp_path, name, capsys):
    again = imported(written(store.root, tmp_path, name))
    assert shown(again) == shown(store.root)
    capsys.readouterr()


def test_an_import_of_an_import_gives_the_same_cells(store, tmp_path, capsys):
    first = imported(written(store.root, tmp_path, "epochs.csv"))
    (tmp_path / "second").mkdir()
    second = imported(written(first, tmp_path / "second", "epochs.csv"))
    assert {cell.key for cell in cells(read_sweeps([first]))} == {cell.key for cell in cells(read_sweeps([second]))}
    capsys.readouterr()


@pytest.mark.parametrize("name", ["runs.csv", "epochs.csv"])
def test_a_store_that_a_real_run_wrote_comes_back(tmp_path, name, capsys):
    golden = shutil.copytree(GOLDEN, tmp_path / "golden")  # reading a store writes its cache
    again = imported(written(golden, tmp_path, name))

    def scores(root):
        found = cells(read_sweeps([root]))
        return sorted(
            (c.model, c.dataset, c.method, trial.seed, trial.scores.get("test_macro_f1"))
            for c in found
            for trial in c.trials
        )

    assert scores(again) == scores(golden)
    capsys.readouterr()


def test_the_files_hold_a_row_a_trial_and_a_row_an_epoch(store):
    files = data_files(read_sweeps([store.root]))
    runs, epochs = (pd.read_csv(io.StringIO(files[name])) for name in ("runs.csv", "epochs.csv"))
    assert (len(runs), len(epochs)) == (12, 24)
    columns = {
        "model",
        "dataset",
        "method",
        "seed",
        "split",
        "learning_rate",
        "lora.r",
        "status",
        "val_macro_f1",
        "test_accuracy",
    }
    assert columns <= set(runs) & set(epochs) | {"status"}
    assert {"train_seconds", "peak_memory_bytes"} <= set(runs)
    assert {"epoch", "epoch_seconds", "peak_memory_bytes"} <= set(epochs)
    assert set(runs["split"]) == {"test"}
    assert runs["status"].value_counts().to_dict() == {"completed": 10, "diverged": 1, "stopped": 1}


def test_no_text_is_a_formula(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec(model="=1+1", seed=1))
    ask(store, [make_spec(model="=1+1", seed=1)])
    assert "\n=1" not in data_files(read_sweeps([store.root]))["runs.csv"]
    assert ",=1" not in data_files(read_sweeps([store.root]))["runs.csv"]
