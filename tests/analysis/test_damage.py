"""A damaged store: every defect is named and counted, no mean is silently wrong, nothing is executed."""

import json
import pickle
import re
import shutil

import pytest

from analysis.__main__ import main
from analysis.cells import cells
from analysis.report.pages import markdown_page
from analysis.report.report import Choices, compose
from analysis.sweep_records import read_sweeps
from tests.support.pickles import Bomb
from tests.support.stores import GOLDEN

pytestmark = pytest.mark.slow


@pytest.fixture
def golden(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "golden")


def trial(root, name="tiny-bert-demo-lora-s1-*"):
    (folder,) = (root / "trials").glob(name)
    return folder


def lora(root):
    (cell,) = [cell for cell in cells(read_sweeps([root])) if cell.method == "lora"]
    return cell


def page(root):
    """The report's text, without its figures, which take most of its time."""
    choices = Choices(
        "last", ("accuracy", "macro_f1"), published=False, fill=False, margin=None, pair=False, claims=None, formats=()
    )
    return markdown_page("report", compose(read_sweeps([root]), choices, root).sections)


def torn(folder):
    path = folder / "epochs.jsonl"
    path.write_bytes(path.read_bytes()[:-30])


def unknown_version(folder):
    path = folder / "spec.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))


def not_a_number(folder):
    path = folder / "epochs.jsonl"
    path.write_text(re.sub(r'"test_macro_f1": [0-9.]+', '"test_macro_f1": NaN', path.read_text()))


def gap(folder):
    path = folder / "epochs.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def bits(folder):
    path = folder / "summary.json"
    path.write_bytes(b"\xff\xfe" + path.read_bytes()[2:])


def text_for_number(folder):
    path = folder / "epochs.jsonl"
    path.write_text(re.sub(r'"test_accuracy": [0-9.]+', '"test_accuracy": "0.9"', path.read_text()))


@pytest.mark.parametrize("damage", [torn, unknown_version, not_a_number, gap, bits, text_for_number])
def test_a_damaged_trial_is_named_counted_and_in_no_mean(golden, damage):
    whole = lora(golden).by_seed("accuracy")
    damage(trial(golden))
    assert lora(golden).by_seed("accuracy") == {seed: value for seed, value in whole.items() if seed != 1}
    report = page(golden)
    assert "Damaged trial left out: 1 case" in report
    assert trial(golden).name.replace("_", r"\_") in report
    assert "(2/3)" in report


def test_a_missing_summary_is_an_unfinished_trial(golden):
    (trial(golden) / "summary.json").unlink()
    report = page(golden)
    assert "1 unfinished" in report
    assert "1 trial that was asked for has not ended" in report
    assert "(2/3)" in report


def test_two_folders_of_one_seed_count_once(golden):
    before = lora(golden).by_seed("accuracy")
    copy = shutil.copytree(trial(golden), golden / "trials" / "copied-by-hand")
    records = read_sweeps([golden])
    assert lora(golden).by_seed("accuracy") == before
    assert any(str(copy) in problem.detail for problem in records.problems)


def test_trials_of_two_fingerprints_are_never_averaged(golden):
    path = trial(golden) / "spec.json"
    content = json.loads(path.read_text())
    content["fingerprint"]["data"] = "other"
    path.write_text(json.dumps(content))
    found = [cell for cell in cells(read_sweeps([golden])) if cell.method == "lora"]
    assert sorted(len(cell.completed) for cell in found) == [1, 2]
    assert all("fingerprint" in cell.variant for cell in found)


def test_damaged_predictions_are_one_line(golden, tmp_path, capsys):
    path = trial(golden) / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert main([str(golden), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "predictions.parquet" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", ["{", '{"schema_version": 9, "requests": []}', "[]"])
def test_a_damaged_request_list_is_one_line(golden, content, tmp_path, capsys):
    (golden / "sweep.json").write_text(content)
    assert main([str(golden), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "sweep.json is damaged" in error
    assert error.count("\n") == 1


def test_pickles_that_lie_about_are_never_read(golden, tmp_path, capsys):
    mark = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(mark))
    for folder in (golden, golden / "trials", golden / "data", trial(golden), golden / "cache"):
        folder.mkdir(exist_ok=True)
        for name in ("tuner.pkl", "params.pkl", "error.pkl", "trials.pkl", "searcher-state-2026.pkl", "model.joblib"):
            (folder / name).write_bytes(bomb)
    (trial(golden, "tiny-bert-demo-lora-s2-*") / "predictions.parquet").rename(trial(golden) / "old.pkl")
    (golden / "cache" / "records.bin").write_bytes(bomb)
    assert main([str(golden), "--out", str(tmp_path / "out"), "--figures", "svg"]) == 0
    assert main(["audit", str(golden)]) == 0
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists()  # it would have gone off
    capsys.readouterr()
