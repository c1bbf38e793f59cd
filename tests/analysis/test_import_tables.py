"""CSV and Parquet files, and W&B's table of runs, become stores; rows that can't be told apart are refused."""

import csv

import pandas as pd
import pytest

from analysis.results import load
from tests.support.imports import imported, imported_cells
from tunekit.errors import UserError

NAMES = "model,dataset,method,seed"
RUNS = [
    {
        "model": "bert",
        "dataset": "news",
        "method": "full",
        "seed": seed,
        "lr": lr,
        "val_accuracy": 0.6,
        "test_accuracy": s,
    }
    for seed, lr, s in ((1, "1e-5", 0.7), (2, "0.00001", 0.72), (3, "1E-05", 0.74))
]


def table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def epochs(rows, number=3, first=1, **names):
    return [
        {**row, names.get("epoch", "epoch"): e, "test_accuracy": row["test_accuracy"] + e / 100}
        for row in rows
        for e in range(first, first + number)
    ]


@pytest.mark.parametrize("suffix", ["csv", "semicolon.csv", "tsv", "parquet"])
def test_a_row_a_run_needs_no_map_where_columns_have_known_names(tmp_path, suffix, capsys):
    place = tmp_path / f"runs.{suffix}"
    frame = pd.DataFrame(RUNS)
    if suffix == "parquet":
        frame.to_parquet(place)
    else:
        frame.to_csv(place, index=False, sep={"csv": ",", "semicolon.csv": ";", "tsv": "\t"}[suffix])
    (cell,) = imported_cells(place)
    assert cell.by_seed("accuracy") == {1: 0.7, 2: 0.72, 3: 0.74}
    assert cell.settings["lr"] == 1e-5
    said = capsys.readouterr().out
    assert "of the kind table" in said
    assert "settings: lr" in said


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("by_trial", [True, False])
def test_a_row_an_epoch_becomes_a_curve(tmp_path, first, by_trial, capsys):
    rows = epochs(RUNS, first=first)
    if by_trial:  # and a measurement that changes from epoch to epoch is no setting then
        rows = [{**row, "trial_id": f"t{row['seed']}", "grad_norm": n / 7} for n, row in enumerate(rows)]
    (cell,) = imported_cells(table(tmp_path / "epochs.csv", rows[::-1]))
    assert [trial.epoch for trial in cell.trials] == [3, 3, 3]
    assert cell.by_seed("accuracy")[1] == pytest.approx(0.7 + (first + 2) / 100)
    assert "grad_norm" not in cell.settings
    capsys.readouterr()


def test_a_row_a_split_is_put_together(tmp_path, capsys):
    rows = [
        {**{k: v for k, v in row.items() if "_acc" not in k}, "part": part, "acc": row[key], "f1": 0.5}
        for row in RUNS
        for part, key in (("dev", "val_accuracy"), ("test", "test_accuracy"))
    ]
    (cell,) = imported_cells(table(tmp_path / "long.csv", rows), "--map", "split=part", "accuracy=acc", "f1=f1")
    assert (cell.split, cell.by_seed("accuracy")) == ("test", {1: 0.7, 2: 0.72, 3: 0.74})
    assert {trial.scores["val_accuracy"] for trial in cell.trials} == {0.6}
    capsys.readouterr()


def test_one_split_for_all_rows_is_said_once(tmp_path, capsys):
    rows = [{**row, "acc": 100 * row["test_accuracy"]} for row in RUNS]
    words = ("--map", "split:=dev", "accuracy=acc", "--ignore", "*_accuracy", "--percent")
    place = table(tmp_path / "runs.csv", [{k: v for k, v in row.items() if "_acc" not in k} for row in rows])
    (cell,) = imported_cells(place, *words)
    assert cell.split == "val"
    assert cell.by_seed("accuracy")[1] == pytest.approx(0.7)
    capsys.readouterr()


def test_states_of_runs_count_as_what_they_are(tmp_path, capsys):
    states = ("finished", "failed", "running", "diverged", "")
    rows = [
        {**RUNS[0], "seed": n, "status": state, "error": "lost" if n == 2 else ""} for n, state in enumerate(states, 1)
    ]
    (cell,) = imported_cells(table(tmp_path / "runs.csv", rows))
    found = {trial.seed: (trial.status, trial.error) for trial in cell.trials}
    assert found == {
        1: ("completed", None),
        2: ("failed", "lost"),
        3: (None, None),
        4: ("diverged", "status is diverged"),
        5: (None, None),
    }
    assert "completed: 1 trial: status is finished" in capsys.readouterr().out


def bad(**changes):
    return [*RUNS[:2], {**RUNS[2], **changes}]


@pytest.mark.parametrize(
    ("rows", "words", "error"),
    [
        (epochs(RUNS)[:4] + epochs(RUNS)[3:4], (), "line 6 are epoch 1 of one trial"),
        (epochs([{**row, "trial_id": "same"} for row in RUNS]), (), "are epoch 1 of one trial"),
        (bad(seed="x"), (), "a seed is a whole number from 0"),
        (bad(seed=-1), (), "a seed is a whole number from 0"),
        (bad(test_accuracy=70), (), "add --percent if it is in percent"),
        (bad(test_accuracy=170), (), "a score lies in [0, 1]"),
        (RUNS, ("--percent",), "is no percentage"),
        (bad(status="sleeping"), (), "which is no known state"),
        ([{**row, "on": "x", "acc": 0.5} for row in RUNS], ("--map", "split=on", "accuracy=acc"), "train, val or test"),
        ([{k: v for k, v in row.items() if "_acc" not in k} for row in RUNS], (), "lacks a score"),
        ([{k: v for k, v in row.items() if k != "seed"} for row in RUNS], (), "lacks seed"),
        (RUNS, ("--kind", "wandb"), "lacks a column of Name, State"),
        (RUNS, ("--kind", "ray"), "is a file"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_line_and_writes_nothing(tmp_path, rows, words, error, capsys):
    store = imported(table(tmp_path / "runs.csv", rows), *words, code=2)
    said = capsys.readouterr().err
    assert error in said
    assert said.count("\n") == 1
    assert not store.exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{NAMES},test_accuracy\nbert,a,full,1\n", "line 2: 4 places under a head of 5"),
        (f'{NAMES},test_accuracy\nbert,a,full,1,"0.5\n', "line 2: unexpected end of data"),
        (f"{NAMES},test_accuracy\n", "a head and no row"),
        ("", "there is no head"),
        ("seed,seed\n1,2\n", "occurs twice"),
        ("Step,run - acc,run - acc__MIN,run - acc__MAX\n1,2,3,4\n", "the CSV of one chart"),
    ],
)
def test_a_torn_file_is_one_line(tmp_path, text, error, capsys):
    (tmp_path / "runs.csv").write_text(text)
    imported(tmp_path / "runs.csv", code=2)
    assert error in capsys.readouterr().err


def test_trailing_separators_and_a_byte_order_mark_are_no_columns(tmp_path, capsys):
    (tmp_path / "runs.csv").write_text(f"\ufeff{NAMES},test_accuracy,,\nbert,a,full,1,0.5,,\n\n", encoding="utf-8")
    (cell,) = imported_cells(tmp_path / "runs.csv")
    assert cell.by_seed("accuracy") == {1: 0.5}
    capsys.readouterr()


def test_repeated_runs_are_counted_and_never_averaged(tmp_path, capsys):
    rows = [*RUNS, {**RUNS[0], "test_accuracy": 0.1}]
    (cell,) = imported_cells(table(tmp_path / "runs.csv", rows))
    assert cell.by_seed("accuracy")[1] == 0.7
    assert "left out: 1 trial (line 5 (as line 2)): the same settings and seed" in capsys.readouterr().out


def test_a_key_that_differs_in_every_trial_is_named_and_can_be_ignored(tmp_path, capsys):
    rows = [{**row, "started": f"10:0{n}"} for n, row in enumerate(RUNS)]
    assert len(imported_cells(table(tmp_path / "runs.csv", rows))) == 3
    assert "add --ignore 'started'" in capsys.readouterr().out
    (tmp_path / "again").mkdir()
    (cell,) = imported_cells(table(tmp_path / "again" / "runs.csv", rows), "--ignore", "start*")
    assert len(cell.by_seed("accuracy")) == 3
    capsys.readouterr()


WANDB = (
    '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","learning_rate","model","seed","eval/accuracy",'
    '"test/f1","train/loss"\n'
)
"""The head of W&B's export of a table of runs: its own columns, then those of the configuration and the summary."""


def test_the_table_of_runs_of_weights_and_biases(tmp_path, capsys):
    rows = [
        '"brisk-sun-1","finished","-","me","","2026-01-01T10:00:00.000Z","61","","1e-05","bert","1","0.8","0.7","0.1"',
        '"calm-sea-2","finished","-","me","","2026-01-01T11:00:00.000Z","62","","0.00001","bert","2","0.82","0.71","0.2"',
        '"dry-oak-3","crashed","-","me","","2026-01-01T12:00:00.000Z","5","","1e-05","bert","3","","",""',
        '"old-elm-4","running","-","me","","2026-01-01T13:00:00.000Z","7","","1e-05","bert","4","0.5","","0.4"',
    ]
    (tmp_path / "wandb.csv").write_text(WANDB + "\n".join(rows) + "\n")
    (cell,) = imported_cells(tmp_path / "wandb.csv", "--map", "dataset:=news", "method:=full")
    assert {trial.seed: trial.status for trial in cell.trials} == {1: "completed", 2: "completed", 3: "failed", 4: None}
    assert cell.by_seed("macro_f1") == {1: 0.7, 2: 0.71}
    assert [trial.scores["val_accuracy"] for trial in cell.completed] == [0.8, 0.82]
    assert cell.sample("train_seconds").mean == 61.5
    assert cell.settings["learning_rate"] == 1e-5
    said = capsys.readouterr().out
    assert "of the kind wandb" in said
    assert "settings: learning_rate; no settings: Name, State" in said


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_a_configuration_is_chosen_on_validation_and_reported_on_test(tmp_path, metric, capsys):
    """Also where accuracy is all that there is; the one that is best on test is not the one that is reported."""
    rows = [
        {
            **RUNS[0],
            "seed": seed,
            "lr": lr,
            "val_accuracy": dev + seed / 1000,
            "test_accuracy": test,
            "test_spearman": -0.5,
        }
        for lr, dev, test in ((1e-4, 0.8, 0.6), (1e-5, 0.7, 0.9))
        for seed in (1, 2, 3)
    ]
    words = ["test_spearman=test_spearman"]
    if metric != "accuracy":
        rows = [{k.replace("accuracy", metric): v for k, v in row.items()} for row in rows]
        words = [f"val_{metric}=val_{metric}", f"test_{metric}=test_{metric}", *words]
    results = load(imported(table(tmp_path / "runs.csv", rows), "--map", *words))
    table_of = results.table("accuracy" if metric == "accuracy" else "macro_f1")
    (entry,) = table_of.entries.values()
    assert entry.score.sample.mean == pytest.approx(0.6)
    (entry,) = results.table("spearman").entries.values()
    assert entry.score.sample.mean == pytest.approx(-0.5)
    with pytest.raises(UserError, match="did you mean 'spearman'"):
        results.table("spearmann")
    capsys.readouterr()
