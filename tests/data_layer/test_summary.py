"""What was understood of a dataset: counts against counting by hand, and what is doubtful by name."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tunekit as tk
from tests.support.output import refusals
from tunekit.commands.command_line import main
from tunekit.data.copies import load_dataset
from tunekit.data.frame import dataset
from tunekit.data.summary import summarise
from tunekit.tasks.classification import label_scores

ROWS = st.lists(st.tuples(st.sampled_from("tuvwxyz"), st.sampled_from("abc")), min_size=4, max_size=30)


def given_splits(train: list, val: list, test: list):
    """Return a dataset of these rows; train has each class besides."""
    rows = [("one", "a"), ("two", "b"), ("three", "c"), *train, *val, *test]
    parts = ["train"] * (3 + len(train)) + ["val"] * len(val) + ["test"] * len(test)
    frame = pd.DataFrame(rows, columns=["text", "label"]).assign(part=parts)
    return dataset(frame, text="text", label="label", split="part")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS, ROWS)
def test_counts_are_those_of_counting_by_hand(train: list, val: list, test: list) -> None:
    seen = summarise(given_splits(train, val, test))
    train = [("one", "a"), ("two", "b"), ("three", "c"), *train]
    parts = {"train": train, "val": val, "test": test}
    assert seen.rows == {split: len(rows) for split, rows in parts.items()}
    for split, rows in parts.items():
        assert seen.classes[split] == {name: sum(label == name for _, label in rows) for name in "abc"}
        assert seen.duplicated[split] == sum(rows[n][0] in {text for text, _ in rows[:n]} for n in range(len(rows)))
        assert seen.absent_classes.get(split, []) == [name for name in "abc" if name not in dict(map(reversed, rows))]
    assert seen.leaked["test_in_train"] == sum(text in dict(train) for text, _ in test)
    assert seen.leaked["test_in_val"] == sum(text in dict(val) for text, _ in test)
    labels_of: dict[str, set[str]] = {}
    for text, label in [*train, *val, *test]:
        labels_of.setdefault(text, set()).add(label)
    torn = {text for text, labels in labels_of.items() if len(labels) > 1}
    rows_of = Counter(text for text, _ in [*train, *val, *test])
    assert seen.contradictory == {"inputs": len(torn), "rows": sum(rows_of[text] for text in torn)}


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_the_highest_macro_f1_is_that_of_a_perfect_model(test: list) -> None:
    data = given_splits([("p", "a")], [("q", "b")], test)
    labels = data.splits["test"]["label"].to_numpy()
    perfect = label_scores(labels, np.array(labels), len(data.label_names))["macro_f1"]
    assert summarise(data).highest_macro_f1.get("test", 1.0) == pytest.approx(perfect)


def test_what_is_doubtful_is_named() -> None:
    rows = [("a longer text", "Pos"), ("x", "pos"), ("nan", "None"), ("lost \ufffd", "neg")] * 10
    data = dataset(pd.DataFrame(rows, columns=["text", "label"]).assign(
        text=lambda frame: [f"{text} {n}" if text != "nan" else text for n, text in enumerate(frame["text"])]
    ), text="text", label="label")  # fmt: skip
    seen = summarise(data)
    said = str(seen)
    assert "warning: classes 'Pos' (10) and 'pos' (10) differ in case, spaces or form alone" in said
    assert "warning: class 'None' (10 rows) may be the mark of a missing label" in said
    assert "warning: the text 'nan' (10 rows) may stand for a missing one" in said
    assert "stands for a character that was lost in an encoding: 10" in said
    assert seen.longest_text["characters"] == len("a longer text 36")
    assert all(line.startswith("frame: ") for line in said.split("\n"))
    assert json.loads(json.dumps(seen.to_dict()))["classes"]["train"]["Pos"] >= 1


def test_what_does_not_occur_has_no_line() -> None:
    clean = pd.DataFrame({"text": [f"text {n}" for n in range(20)], "label": ["a", "b"] * 10})
    assert "no text occurs twice, in a split or in two" in str(summarise(dataset(clean, text="text", label="label")))
    twice = pd.concat([clean, clean[:2]], ignore_index=True)
    said = str(summarise(dataset(twice, text="text", label="label")))
    assert "no text occurs twice" not in said
    assert ": 0 " not in said
    assert ", 0 " not in said


def test_many_classes_are_not_all_shown_in_a_text() -> None:
    rows = [(f"t{n}", f"class {n % 90:02}") for n in range(900)]
    seen = summarise(dataset(pd.DataFrame(rows, columns=["text", "label"]), text="text", label="label"))
    assert "class 29" in str(seen)
    assert "class 30" not in str(seen)
    assert "and 60 more" in str(seen)
    assert len(seen.to_dict()["classes"]["test"]) == 90


def test_registered_data_has_a_summary_too() -> None:
    assert str(tk.summarise(load_dataset("demo"))).startswith("Demo: 600 train, 100 val, 300 test rows, 3 classes\n")


def write_case(folder: Path) -> Path:
    for split, names in (("train", "abcd"), ("dev", "ab"), ("test", "ab")):
        rows = "".join(f"{split} {n},{names[n % len(names)]}\n" for n in range(24))
        (folder / f"{split}.csv").write_text(f"text;label\n{rows}".replace(",", ";"))
    with (folder / "train.csv").open("a") as file:
        file.write(";a\n")
    return folder


@pytest.mark.slow
def test_a_dry_run_shows_what_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    words = ["run", "--models", "tiny-bert", "--methods", "full", "--seeds", "1", "--epochs", "1", "--dry-run"]
    words += ["--storage", str(tmp_path), "--datasets", str(write_case(tmp_path / "mine"))]
    assert main(words) == 2
    [refused] = refusals(capsys.readouterr().err)
    assert "train.csv, line 26: empty text in column 'text'; --skip-bad-rows leaves it out" in refused
    assert main([*words, "--skip-bad-rows"]) == 0
    said = capsys.readouterr().out
    assert "mine: rows of each class (train, val, test): a 6/12/12, b 6/12/12, c 6/0/0, d 6/0/0" in said
    assert "mine: left out: 1 row (1 empty text)" in said
    assert "mine: train.csv: separated by a semicolon" in said
    assert "mine: warning: test lacks classes 'c', 'd': macro-F1 on test is at most 50.00" in said
    for form in (["--json"], ["--format", "json"]):
        assert main([*words, "--skip-bad-rows", *form]) == 0
        [seen] = json.loads(capsys.readouterr().out)["datasets"].values()
        assert seen["highest_macro_f1"] == {"val": 0.5, "test": 0.5}
        assert seen["left_out"] == {"empty text": 1}


def test_a_plan_in_python_shows_what_was_understood() -> None:
    data = dataset(pd.DataFrame({"t": [f"x{n}" for n in range(40)], "l": ["a", "b"] * 20}), text="t", label="l")
    block = tk.Block(models=("tiny-bert",), datasets=(data,), methods=("full",), seeds=(1,))
    assert "frame: rows of each class (train, val, test): a 16/2/2, b 16/2/2" in str(tk.plan(block))
