"""Names and links that point elsewhere: nothing is read or written outside a sweep's folder."""

import json
from pathlib import Path

import pytest

from tests.support.records import FINGERPRINT, record, summary
from tests.support.trials import specify
from tunekit.commands.gc import collect
from tunekit.data.copies import load_dataset
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError
from tunekit.models.loading import load_tokenizer, resolve_model
from tunekit.planning.args import GridArgs
from tunekit.planning.resolve import resolve_blocks
from tunekit.store.result_store import ResultStore

NAMES = ["../x", "/etc/x", "a/../../x", "~/x", "C:\\x", "..", ".", "", "a\x00b", "a\nb", "\x1b[2J", "con/aux", "é", "A"]


@pytest.mark.parametrize("name", NAMES)
def test_a_sweeps_name_is_a_plain_name(name):
    with pytest.raises(UserError, match="--sweep takes lower-case letters"):
        resolve_blocks(GridArgs(sweep=name), [], "x", None)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("é", "A", ".", "..")])
def test_a_models_name_is_one_or_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UserError, ValueError)):
        resolve_model(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_datasets_name_never_leaves_the_folder(name, tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(UserError, match="unknown dataset"):
        load_dataset(name, tmp_path / "data")


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "\\x", "C:x", "~", "x" * 300])
def test_a_trials_folder_is_a_plain_name(name):
    spec = specify()
    for field in ("model", "dataset", "method"):
        folder = type(spec)(**{**spec.to_dict(), field: name}).folder
        assert Path(folder).name == folder
        assert len(folder) < 256
        assert not set('/\\:*?"<>|') & set(folder)
    with pytest.raises(ValueError, match="control characters"):
        type(spec)(**{**spec.to_dict(), "model": "a\x00b"})


def test_a_files_odd_name_becomes_a_plain_one(tmp_path):
    path = tmp_path / "..  $(touch x) '\";.csv"
    path.write_text("text,label\n" + "\n".join(f"t{n},{n % 2}" for n in range(40)))
    name = read_user_dataset(path).name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")


def linked(tmp_path, spec):
    """A store whose trial's folder is a link to another folder, which holds a whole trial."""
    store, elsewhere = ResultStore(tmp_path / "sweep"), ResultStore(tmp_path / "elsewhere")
    folder = elsewhere.open_trial(spec, FINGERPRINT)
    elsewhere.write_epochs(folder, [record(1)])
    elsewhere.write_summary(folder, summary())
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "x").write_text("kept")
    store.trials_folder.mkdir(parents=True)
    store.folder(spec).symlink_to(folder, target_is_directory=True)
    return store, folder


def test_a_linked_trial_is_named_and_left_out(tmp_path):
    store, _ = linked(tmp_path, specify())
    found, damaged = store.trials()
    assert (found, len(damaged)) == ([], 1)
    assert "is a link" in damaged[0]
    assert len(store.frames().trials) == 0


def test_nothing_is_written_or_removed_through_a_link(tmp_path):
    spec = specify()
    store, outside = linked(tmp_path, spec)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    collect(store.root, lambda line: None)
    own = store.open_trial(spec, FINGERPRINT)
    store.write_epochs(own, [record(1), record(2)])
    assert not own.is_symlink()
    assert before == {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["spec.json", "epochs.jsonl", "summary.json"])
def test_a_linked_record_is_damage(tmp_path, name):
    store = ResultStore(tmp_path / "sweep")
    folder = store.open_trial(specify(), FINGERPRINT)
    store.write_epochs(folder, [record(1)])
    store.write_summary(folder, summary())
    (folder / name).rename(tmp_path / "secret")
    (folder / name).symlink_to(tmp_path / "secret")
    assert "is a link" in store.trials()[1][0]


def test_an_index_that_points_elsewhere_is_not_read(repository):
    (repository / "model.safetensors").rename(repository.parent / "stolen.safetensors")
    index = {"weight_map": {"bert.pooler.dense.weight": "../stolen.safetensors"}}
    (repository / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        UserError, match=r"names '\.\./stolen\.safetensors', which is no shard in the model's own folder"
    ):
        resolve_model(str(repository))


@pytest.mark.parametrize("key", ["tokenizer_file", "vocab_file", "merges_file", "auto_map"])
def test_a_tokenizer_that_points_elsewhere_is_refused(repository, key):
    path = repository / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: "/etc/hostname"}))
    with pytest.raises(UserError, match=key):
        load_tokenizer(resolve_model(str(repository)), None)
