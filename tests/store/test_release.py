"""A released copy of a sweep: smaller, without weights and texts, and read, shown and planned as the sweep itself."""

import gzip
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from analysis.cells import cells
from analysis.sweep_records import read_sweeps
from tests.support.stores import GOLDEN, add
from tunekit import load
from tunekit.commands.command_line import main
from tunekit.errors import UserError
from tunekit.schema import Status
from tunekit.store.records import DamagedRecord, read_predictions, read_steps
from tunekit.store.release import release
from tunekit.store.result_store import ResultStore


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The golden store with what only training needs, and its released copy."""
    root = shutil.copytree(GOLDEN, tmp_path_factory.mktemp("whole") / "golden")
    target = tmp_path_factory.mktemp("released") / "golden"
    for folder in ResultStore(root).folders():
        (folder / "model").mkdir()
        (folder / "model" / "weights.safetensors").write_bytes(b"x" * 1000)
        (folder / "log.txt").write_text("a line")
    (root / "ray").mkdir()
    (root / "ray" / "state.json").write_text("{}")
    said = []
    release(root, target, said.append)
    return root, target, said


def test_the_copy_holds_the_records_and_nothing_else(released):
    root, target, said = released
    names = {path.name for path in target.rglob("*") if path.is_file() and path.parent.parent.name == "trials"}
    assert names == {"spec.json", "epochs.jsonl", "summary.json", "steps.csv.gz", "predictions.parquet"}
    assert {path.name for path in target.iterdir()} == {"sweep.json", "trials", "data"}
    for path in target.rglob("*.json*"):
        assert path.read_bytes() == (root / path.relative_to(target)).read_bytes()
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    assert said[-1] == f"{len(list(ResultStore(target).folders()))} trials in {target}, {size / 1e6:.1f} MB"


@pytest.mark.slow
@pytest.mark.parametrize("select", ["last", "best-val", "best-test"])
def test_tables_of_the_copy_are_those_of_the_sweep(released, select):
    root, target, _ = released
    metrics = ("macro_f1", "accuracy", "mcc")
    whole, copy = (cells(read_sweeps([one]), select) for one in (root, target))
    assert [cell.title for cell in copy] == [cell.title for cell in whole]
    assert any(cell.completed for cell in copy)
    for a, b in zip(whole, copy, strict=True):
        assert [a.by_seed(metric) for metric in metrics] == [b.by_seed(metric) for metric in metrics]
    assert str(load(target).table()) == str(load(root).table())


def test_steps_are_compressed_and_read_back_whole(released):
    root, target, _ = released
    for folder in ResultStore(target).folders():
        packed = (folder / "steps.csv.gz").read_bytes()
        plain = root / "trials" / folder.name
        assert gzip.decompress(packed) == (plain / "steps.csv").read_bytes()
        columns = {"step": int, "train_loss": float}
        pd.testing.assert_frame_equal(read_steps(folder, columns), read_steps(plain, columns))
        assert len(read_predictions(folder)) < len(read_predictions(plain))


def test_a_copy_of_a_copy_is_the_copy(released, tmp_path):
    _, target, _ = released
    release(target, tmp_path / "again", [].append)
    files, again = (
        {path.relative_to(root): path for path in root.rglob("*") if path.is_file() and path.parent.name != "cache"}
        for root in (target, tmp_path / "again")
    )
    assert set(again) == set(files)
    assert all(again[name].read_bytes() == files[name].read_bytes() for name in files)


def test_damaged_steps_name_their_file(released, tmp_path):
    _, target, _ = released
    folder = shutil.copytree(next(iter(ResultStore(target).folders())), tmp_path / "trial")
    (folder / "steps.csv.gz").write_bytes((folder / "steps.csv.gz").read_bytes()[:-20])
    with pytest.raises(DamagedRecord, match="steps.csv.gz"):
        read_steps(folder, {"step": int})


def test_texts_of_own_data_and_trials_that_have_not_ended_stay_behind(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec(seed=1))
    add(store, make_spec(seed=2))
    (store.folder(make_spec(seed=2)) / "summary.json").unlink()
    store.data_folder.mkdir()
    (store.data_folder / "mine-abc.json").write_text('{"name": "mine-abc", "with_text": true}')
    (store.data_folder / "mine-abc.parquet").write_bytes(b"texts")
    said = []
    release(store.root, tmp_path / "copy", said.append)
    assert [path.name for path in (tmp_path / "copy" / "data").iterdir()] == ["mine-abc.json"]
    assert said[:2] == [
        "mine-abc: its texts are not in the copy, since it is data of your own",
        "1 trial left out: stale, or not ended",
    ]
    assert len(list(ResultStore(tmp_path / "copy").folders())) == 1


def test_the_newest_failed_trial_is_copied_as_it_ended(tmp_path, make_spec):
    store = ResultStore(tmp_path / "sweep")
    add(store, make_spec(seed=1), status=Status.DIVERGED)
    release(store.root, tmp_path / "copy", [].append)
    [trial] = ResultStore(tmp_path / "copy").trials()[0]
    assert trial.summary is not None
    assert replace(trial, folder=store.folder(make_spec(seed=1))) == store.read(store.folder(make_spec(seed=1)))


def test_what_can_not_be_released_is_one_line(tmp_path, make_spec, capsys):
    store = ResultStore(tmp_path / "sweep")
    with pytest.raises(UserError, match="trials folder"):
        release(tmp_path / "nothere", tmp_path / "copy", print)
    add(store, make_spec())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="exists already; name a new folder"):
        release(store.root, tmp_path / "full", print)
    (store.folder(make_spec()) / "summary.json").unlink()
    assert main(["release", str(store.root), "--to", str(tmp_path / "copy")]) == 2
    assert "no trial of" in capsys.readouterr().err
    (store.folder(make_spec()) / "epochs.jsonl").write_text("{")
    with pytest.raises(UserError, match="audit"):
        release(store.root, tmp_path / "copy", print)
