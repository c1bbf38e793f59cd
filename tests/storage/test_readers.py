"""What reads a sweep on an object store and was made for a disk: status, export of kept weights, gc, trackers."""

import pytest

from tests.support.exports import SPECS, cell
from tests.support.records import FINGERPRINT, record
from tests.support.runs import begin, finish
from tunekit.engine.kept_weights import kept_epochs, weights_file
from tunekit.storage.lease import acquire
from tunekit.storage.paths import local_folder, location
from tunekit.store.progress import ProgressReader
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore
from tunekit.trackers.feed import Feeds


@pytest.fixture
def store(bucket, tmp_path, monkeypatch) -> ResultStore:
    monkeypatch.setenv("TUNEKIT_CACHE_DIR", str(tmp_path / "cache"))
    return ResultStore(f"{bucket}/sweeps/demo")


def test_a_trial_runs_once_its_driver_has_touched_it(store, make_spec):
    old, new = make_spec(seed=1), make_spec(seed=2)
    store.add_request({"cells": cells_of([old, new])})
    store.write_epochs(store.open_trial(old, FINGERPRINT), [record(1)])
    reader = ProgressReader(store.root)
    assert [one.text for one in reader.read().trials] == ["interrupted 1/2 50.00", "waiting"]
    lease = acquire(store.root)
    store.write_epochs(store.open_trial(new, FINGERPRINT), [record(1)])
    standing = reader.read()
    assert standing.running
    assert standing.trials[1].text == "running 1/2 50.00"
    store.write_epochs(store.folder(new), [record(1), record(2)])
    assert reader.read().trials[1].text == "running 2/2 50.00"
    lease.release()


@pytest.mark.slow
def test_kept_weights_are_exported_and_collected(store, tmp_path, said):
    spec = SPECS["lora"][0]
    runs = [begin(spec, place, "last") for place in (store.root, tmp_path / "disk")]
    for run in runs:
        finish(run)
    there, here = (weights_file(run.folder, spec.epochs) for run in runs)
    assert there.read_bytes() == here.read_bytes()
    store.add_request({"cells": cells_of([spec])})
    code, out, err = said("export", store.root, *cell(spec), "--epoch", "last", "--to", tmp_path / "to")
    assert code == 0, err
    assert any("predicts what the trial recorded" in line for line in out)
    assert said("gc", store.root, "--models")[0] == 0
    assert kept_epochs(runs[0].folder) == []


def test_trackers_write_on_this_machine(store):
    pytest.importorskip("tensorboardX")
    finish(begin(SPECS["lora"][0], store.root, "none"))
    notes = []
    with Feeds(["tensorboard"], store, notes.append):
        pass
    folder = local_folder(location(str(store.root))) / "demo"
    assert list(folder.rglob("events.out.*"))
    assert len(notes) == 1
    assert notes[0].endswith(str(folder))
