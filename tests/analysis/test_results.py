"""Results in a notebook: tidy frames without the cache's own columns, tables and figures that show themselves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest

from analysis.results import Results, load
from tests.support.records import record
from tests.support.stores import GOLDEN, add, ask
from tunekit.errors import UserError
from tunekit.schema import EpochRecord, Status
from tunekit.store.result_store import ResultStore

OWN = ("folder", "stamp", "own", "cell", "fingerprint", "settings", "execution", "provenance", "path")
"""The cache's own columns, which no user needs."""


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN, tmp_path / "golden")


@pytest.fixture
def mixed(tmp_path: Path, make_spec) -> Results:
    """Two methods, one seed of which failed, and one trial that is still running."""
    store = ResultStore(tmp_path / "mixed")
    specs = [make_spec(seed=seed) for seed in (1, 2)]
    specs += [make_spec(method="full", method_params={}, seed=seed, train_limit=None) for seed in (1, 2, 3)]
    ask(store, specs)
    for spec in specs[:4]:
        add(store, spec, [0.5, 0.6], Status.FAILED if spec is specs[1] else Status.COMPLETED)
    folder = store.open_trial(specs[4], store.read(store.folder(specs[3])).fingerprint)
    store.write_epochs(folder, [record(1)])
    return load(store.root)


def test_an_epoch_is_a_row_and_a_setting_a_column(golden: Path) -> None:
    epochs = load(golden).epochs
    assert list(epochs)[:8] == [
        "sweep", "trial_id", "model", "dataset", "method", "seed", "learning_rate", "batch_size",
    ]  # fmt: skip
    assert epochs.columns.is_unique
    assert not set(OWN) & set(epochs)
    assert len(epochs) == 27
    for folder in (golden / "trials").iterdir():
        spec = json.loads((folder / "spec.json").read_text())["spec"]
        lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
        own = epochs[epochs["trial_id"] == folder.name.rsplit("-", 1)[1]]
        assert own["test_macro_f1"].tolist() == [line["test_macro_f1"] for line in lines]
        assert own["epoch_learning_rate"].tolist() == [line["learning_rate"] for line in lines]
        assert set(own["learning_rate"]) == {spec["learning_rate"]}
        assert set(own["seed"]) == {spec["seed"]}
        for name, value in spec["method_params"].items():
            assert set(own[f"{spec['method']}.{name}"]) == {value}


def test_types_are_those_of_the_values(mixed: Results) -> None:
    kinds = mixed.trials.dtypes.astype(str).to_dict()
    expected = {
        "model": "category", "seed": "int64", "learning_rate": "float64", "batch_size": "int64",
        "train_limit": "Int64", "score_test": "bool", "lora.r": "Int64", "lora.lora_dropout": "float64",
        "lora.target_modules": "category", "status": "category", "num_epochs": "Int64", "test_macro_f1": "float64",
    }  # fmt: skip
    assert {name: kinds[name] for name in expected} == expected
    assert mixed.epochs.dtypes.astype(str)["epoch"] == "int64"
    full = mixed.trials["method"] == "full"
    assert mixed.trials.loc[full, "lora.r"].isna().all()
    assert mixed.trials.loc[~full, "lora.r"].tolist() == [4, 4]


def test_a_trial_has_the_scores_of_its_last_epoch_and_how_it_ended(mixed: Results) -> None:
    trials = mixed.trials.sort_values(["method", "seed"]).reset_index(drop=True)
    assert len(trials) == 5
    assert trials["status"].tolist()[:2] == ["completed", "completed"]
    assert pd.isna(trials["status"][2])
    assert trials["status"].tolist()[3:] == ["completed", "failed"]
    assert trials["test_macro_f1"].tolist()[:2] == [0.6, 0.6]
    assert trials["error"].notna().tolist() == [False, False, False, False, True]
    assert not set(OWN) & set(trials)
    texts = trials.select_dtypes(["object", "string", "category"]).astype("string").fillna("")
    assert not any(texts[name].str.startswith(("{", "[")).any() for name in texts)


def test_every_field_of_a_record_is_a_column(mixed: Results) -> None:
    names = {name if name != "learning_rate" else "epoch_learning_rate" for name in EpochRecord.__dataclass_fields__}
    assert names <= set(mixed.epochs)


def test_settings_of_an_imported_experiment_take_no_columns_of_records() -> None:
    from analysis.tidy import _settings

    found = _settings({"model": "m", "method": "full", "epochs": 3, "settings": {"epoch": 7, "dropout": 0.1}})
    assert found == {"epochs": 3, "config/epoch": 7, "dropout": 0.1}


def test_an_option_of_the_loss_is_a_column_where_some_trial_has_it(golden: Path, tmp_path: Path, make_spec) -> None:
    assert "label_smoothing" not in load(golden).trials
    store = ResultStore(tmp_path / "sweep")
    for share in (0.0, 0.1):
        add(store, make_spec(label_smoothing=share))
    assert sorted(load(store.root).trials["label_smoothing"]) == [0, 0.1]
    assert "focal_gamma" not in load(store.root).trials


@pytest.mark.slow
def test_several_sweeps_stand_in_one_frame_and_a_trial_counts_once(golden: Path, tmp_path: Path, make_spec) -> None:
    other = ResultStore(tmp_path / "other")
    add(other, make_spec(seed=9))
    shutil.copytree(next((golden / "trials").iterdir()), tmp_path / "other" / "trials" / "copy")
    results = load([golden, tmp_path / "other"])
    assert results.trials["sweep"].value_counts().to_dict() == {"golden": 9, "other": 1}
    assert load(golden).trials.equals(load([golden, golden]).trials)
    assert "golden, other" in repr(results)


@pytest.mark.slow
def test_a_table_shows_itself(golden: Path) -> None:
    table = load(golden).table("macro_f1")
    assert "| 45.87 ± 0.87" in str(table).replace("│", "|").replace("  ", "").replace("|45", "| 45")
    assert str(table) == repr(table)
    assert all(line == line.rstrip() for line in str(table).splitlines())
    shown = table._repr_html_()
    assert shown.startswith('<table class="scores">')
    assert "<strong>45.87 ± 0.87</strong>" in shown
    classes = load(golden).table("per_class_f1")
    assert len(classes.spec.columns) == 3


@pytest.mark.slow
def test_all_settings_stand_in_a_table_of_their_own(golden: Path) -> None:
    shown = load(golden).settings("macro_f1")
    assert [row.label for row in shown.spec.rows] == [
        "full fine-tuning, lr 0.001",
        "full fine-tuning, lr 0.002 (chosen)",
    ]
    assert list(shown.spec.columns.values()) == ["validation", "test"]
    assert len(load(golden).table("macro_f1").spec.rows) == 2


@pytest.mark.slow
def test_curves_are_a_figure_of_no_window(golden: Path) -> None:
    results = load(golden)
    for figure in (results.curves("demo"), results.curves("demo", "macro_f1"), results.curves("demo", "train_loss")):
        assert figure._repr_png_().startswith(b"\x89PNG")
    assert matplotlib.pyplot.get_fignums() == []
    ax = results.curves("demo", "macro_f1").axes[0]
    assert ax.get_ylabel() == "Test macro-F1 (%)"
    epochs = results.epochs
    best = epochs[(epochs["method"] == "full") & (epochs["learning_rate"] == 0.002)]
    means = 100 * best.groupby("epoch")["test_macro_f1"].mean()
    assert any(np.allclose(line.get_ydata(), means) for line in ax.lines)


@pytest.mark.slow
def test_the_report_is_written_and_its_pages_returned(golden: Path, tmp_path: Path) -> None:
    pages = load(golden).report(tmp_path / "paper")
    assert [page.name for page in pages] == ["report.md", "report.html"]
    assert all(page.is_file() for page in pages)
    assert list((tmp_path / "paper" / "figures").glob("*.svg"))
    assert list((tmp_path / "paper" / "tables").glob("*.csv"))


def test_the_summary_says_what_there_is(mixed: Results) -> None:
    for text in (repr(mixed), mixed._repr_html_()):
        assert "5 trials in 2 cells: 3 completed" in text
        assert "1 unfinished" in text
        assert "1 trial that was asked for has not ended" in text
        assert "methods: LoRA, full fine-tuning" in text


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda results: load([]), "no sweep is given"),
        (lambda results: load(3), "not int"),
        (lambda results: load([None]), "not NoneType"),
        (lambda results: load("no/such/sweep"), "holds no sweep"),
        (lambda results: results.table("macrof1"), "did you mean 'macro_f1'?"),
        (lambda results: results.table(dataset="dem"), "did you mean 'demo'?"),
        (lambda results: results.table(select="first"), "no selection 'first'"),
        (lambda results: results.settings("per_class_f1"), "no method was trained with several settings"),
        (lambda results: results.settings("macrof1"), "did you mean 'macro_f1'?"),
        (lambda results: results.curves("nowhere"), "no results of dataset 'nowhere'"),
        (lambda results: results.curves("demo", "epoch"), "no metric 'epoch'"),
        (lambda results: results.report("out", metrics=["f2"]), "no metric 'f2'"),
    ],
)
def test_wrong_input_is_one_line(golden: Path, act, said: str) -> None:
    with pytest.raises(UserError) as caught:
        act(load(golden))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_display_names_come_from_the_requests(tmp_path: Path, make_spec) -> None:
    store = ResultStore(tmp_path / "sweep")
    specs = [make_spec(seed=seed, method=method, method_params={}) for method in ("mine", "lora") for seed in (1, 2)]
    for spec in specs:
        add(store, spec)
    shown = {"models": {"tiny-bert": "Tiny BERT"}, "methods": {"mine": "My method\x1b[1m", "lora": "LoRA (ours)"}}
    store.add_request({"cells": [], "display_names": shown})
    results = load(store.root)
    cells = results.cells()
    assert {cell.model_name for cell in cells} == {"Tiny BERT"}
    assert {cell.method_name for cell in cells} == {"My method [1m", "LoRA (ours)"}
    assert "LoRA (ours)" in str(results.table())
    assert set(results.trials["method"]) == {"mine", "lora"}  # frames keep the plain names


@pytest.mark.parametrize("stored", [None, 3, {"models": 3}, {"methods": {"other": "Other"}}])
def test_old_stores_have_the_usual_names_and_then_the_plain_ones(tmp_path: Path, make_spec, stored) -> None:
    store = ResultStore(tmp_path / "sweep")
    for method in ("mine", "lora"):
        add(store, make_spec(method=method, method_params={}))
    store.add_request({"cells": []} if stored is None else {"cells": [], "display_names": stored})
    assert {cell.method_name for cell in load(store.root).cells()} == {"mine", "LoRA"}
    assert {cell.model_name for cell in load(store.root).cells()} == {"tiny-bert"}


def test_a_search_alone_has_no_table(tmp_path: Path, make_spec) -> None:
    store = ResultStore(tmp_path / "search")
    add(store, make_spec(score_test=False))
    with pytest.raises(UserError, match="holds no cell to show"):
        load(store.root).table()
    assert len(load(store.root).trials) == 1


def test_a_sweep_without_a_trial_has_empty_frames(tmp_path: Path, make_spec) -> None:
    store = ResultStore(tmp_path / "empty")
    ask(store, [make_spec()])
    store.trials_folder.mkdir()
    results = load(store.root)
    assert len(results.epochs) == len(results.trials) == 0
    assert "0 trials in 1 cell" in repr(results)
    with pytest.raises(UserError, match="no trial of demo has completed"):
        results.curves("demo")
    assert replace(results) is not results
