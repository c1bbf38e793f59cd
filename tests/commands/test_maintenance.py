"""doctor, verify and gc: what they find, what they say, what they leave alone."""

import json
import shutil

import pandas as pd
import pytest

from tests.support.runs import finish
from tests.support.trials import fingerprint, specify, start
from tunekit.commands import doctor
from tunekit.data.base import DATASETS
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.models.loading import resolve_model
from tunekit.planning import disk, machine
from tunekit.schema import Status
from tunekit.storage.lease import acquire
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

GRID = "- {models: [tiny-bert], datasets: [demo], methods: [lora], seeds: [1, 2]}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep of three completed trials."""
    root = tmp_path_factory.mktemp("trained") / "sweep"
    specs = [specify(seed=seed, method=method) for seed, method in ((1, "lora"), (2, "lora"), (1, "full"))]
    for spec in specs:
        finish(start(spec, root))
    ResultStore(root).add_request({"cells": cells_of(specs)})
    return root


@pytest.fixture
def sweep(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "sweep")


def test_doctor_finds_a_sound_machine_sound_and_writes_nothing(said, tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    code, lines, _ = said("doctor", tmp_path / "grid.yaml", "--storage", tmp_path / "out")
    assert code == 0, lines
    assert all(line.startswith("ok ") for line in lines)
    subjects = [line.split(":")[0].removeprefix("ok").strip() for line in lines]
    assert subjects == [
        "versions", "kernels", "gpu", "ray", "storage", "disk", "data demo", "model tiny-bert",
    ]  # fmt: skip
    assert "checkpoints of 2 trials" in lines[5]
    assert [path.name for path in tmp_path.iterdir()] == ["grid.yaml"]


@pytest.mark.slow
def test_doctor_without_a_grid_looks_at_all_that_is_registered(said, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    _, lines, _ = said("doctor", "--storage", tmp_path)
    assert sum(" data " in line for line in lines) == len(DATASETS)
    assert any("model bert" in line and "fetched from the hub" in line for line in lines)


def old_packages(patch, path):
    patch.setattr(doctor, "version", lambda name: "0.1")
    return "versions: adapters is 0.1, supported"


def hub_offline(patch, path):
    patch.setenv("HF_HUB_OFFLINE", "1")
    return "model bert: config.json"


def no_authentication(patch, path):
    patch.setenv("RAY_AUTH_MODE", "disabled")
    return "ray: RAY_AUTH_MODE turns token"


def no_cluster(patch, path):
    patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    return "ray: can't join the Ray at RAY_ADDRESS=127.0.0.1:1; start the cluster"


def no_data(patch, path):
    patch.setenv("TUNEKIT_DATA_DIR", str(path))
    return "data acl_arc: cannot read"


def full_disk(patch, path):
    patch.setattr(disk, "disk_bytes", lambda specs, shapes, concurrent, keep_models: 10**18)
    return "may take 1000000000.0 GB; free some"


def kernels_package(patch, path):
    (path / "kernels.py").write_text("")
    patch.syspath_prepend(str(path))
    return "kernels: the package 'kernels' is installed"


def no_compiler(patch, path):
    patch.setattr(machine, "has_accelerator", lambda: True)
    patch.delenv("CC", raising=False)
    patch.setenv("PATH", str(path))
    return "kernels would compute faster on the GPU, for lack of a C compiler"


@pytest.mark.parametrize(
    "trouble",
    [old_packages, hub_offline, no_authentication, no_cluster, no_data, full_disk, kernels_package, no_compiler],
)
def test_doctor_names_what_is_wrong_and_exits_with_1(said, monkeypatch, tmp_path, trouble):
    (tmp_path / "grid.yaml").write_text(GRID.replace("tiny-bert", "bert").replace("[demo]", "[demo, acl_arc]"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    problem = trouble(monkeypatch, tmp_path)
    code, lines, _ = said("doctor", tmp_path / "grid.yaml", "--storage", tmp_path)
    assert code == 1
    assert any(line.startswith("problem") and problem in line for line in lines), lines


@pytest.mark.slow
def test_doctor_refuses_a_storage_that_can_not_be_written(said):
    code, lines, _ = said("doctor", "--storage", "/proc/nowhere")
    assert code == 1
    assert any(line.startswith("problem  storage: /proc") and "--storage" in line for line in lines)


@pytest.mark.slow
def test_verify_finds_all_as_stored_and_changes_nothing(said, sweep):
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    code, lines, _ = said("verify", sweep, "--fraction", "1")
    assert code == 0, lines
    assert sum(line.startswith("same: ") and line.endswith("bit for bit") for line in lines) == 3
    assert lines[-1] == "3 of 3 trials are as stored; 3 could be compared"
    assert before == {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_verify_compares_a_released_store_in_the_epochs_that_it_holds(said, sweep, tmp_path):
    assert said("release", sweep, "--to", tmp_path / "released")[0] == 0
    code, lines, _ = said("verify", tmp_path / "released", "--fraction", "1")
    assert (code, lines[-1]) == (0, "3 of 3 trials are as stored; 3 could be compared")
    without_last_epoch = lora(tmp_path / "released") / "predictions.parquet"
    rows = pd.read_parquet(without_last_epoch)
    rows[rows["epoch"] < rows["epoch"].max()].to_parquet(without_last_epoch, index=False)
    code, lines, _ = said("verify", tmp_path / "released", "--fraction", "1")
    assert code == 1
    assert sum("other items stand in predictions.parquet" in line for line in lines) == 1


def test_verify_trains_in_the_parts_of_a_batch_that_memory_asked_for(said, tmp_path):
    spec = specify(epochs=1)
    job = Job(spec, fingerprint(spec), resolve_model(spec.model), tmp_path, 0, 1, micro_batches=4)
    finish(TrialRun(job, lambda line: None))
    code, lines, _ = said("verify", tmp_path)
    assert (code, lines[0].endswith("bit for bit")) == (0, True), lines


def lora(sweep):
    return next((sweep / "trials").glob("*-lora-s1-*"))


def change_loss(sweep):
    path = lora(sweep) / "epochs.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["test_loss"] += 1e-9
    path.write_text("\n".join(map(json.dumps, rows)))
    return "epoch 2: test_loss"


def change_predictions(sweep):
    rows = pd.read_parquet(lora(sweep) / "predictions.parquet")
    rows.loc[0, "predicted"] = 1 - rows.loc[0, "predicted"]
    rows.to_parquet(lora(sweep) / "predictions.parquet", index=False)
    return "predictions changed"


def tear_predictions(sweep):
    (lora(sweep) / "predictions.parquet").write_bytes(b"torn")
    return "predictions.parquet can't be compared"


@pytest.mark.parametrize("change", [change_loss, change_predictions, tear_predictions])
def test_verify_names_what_differs(said, sweep, change):
    expected = change(sweep)
    for other in set((sweep / "trials").iterdir()) - {lora(sweep)}:
        shutil.rmtree(other)
    code, lines, _ = said("verify", sweep)
    assert code == 1
    assert lines[0].startswith("DIFFERENT: tiny-bert · demo · lora · seed 1")
    assert expected in lines[0]


@pytest.mark.slow
def test_verify_tolerates_last_digits_of_another_machine_only(said, sweep):
    change_loss(sweep)
    path = lora(sweep) / "summary.json"
    path.write_text(path.read_text().replace('"processor": "', '"processor": "Another '))
    code, lines, _ = said("verify", sweep, "--fraction", "1")
    assert code == 0
    assert any(line.startswith("same: ") and "within 0.02" in line for line in lines)


def test_verify_draws_a_part_and_names_stale_trials(said, sweep):
    path = lora(sweep) / "spec.json"
    content = json.loads(path.read_text())
    content["fingerprint"]["code"] = "0" * 12
    path.write_text(json.dumps(content))
    code, lines, _ = said("verify", sweep, "--fraction", "0.5", "--seed", "3")
    assert code == 0
    assert lines[0].startswith("not compared: ")
    assert lines[0].endswith("stale, made by other code")
    assert lines[-1] == "1 of 1 trials are as stored; 2 could be compared"


@pytest.mark.parametrize("arguments", [["--fraction", "0"], ["--fraction", "1.5"]])
def test_verify_refuses_in_one_line(said, sweep, arguments):
    code, _, error = said("verify", sweep, *arguments)
    assert (code, error.count("\n")) == (2, 1)


@pytest.mark.parametrize("command", ["verify", "gc", "status"])
def test_no_sweep_is_one_line(said, tmp_path, command):
    code, _, error = said(command, tmp_path)
    assert (code, error.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_gc_takes_what_ended_trials_and_dead_processes_left(said, sweep):
    folders = sorted((sweep / "trials").iterdir())
    for folder in folders:
        for name in ("epoch-1", ".draft-99"):
            (folder / "checkpoint" / name).mkdir(parents=True)
            (folder / "checkpoint" / name / "model.safetensors").write_bytes(b"x" * 1_000_000)
    (folders[0] / "summary.json").unlink()  # it goes on later, from epoch-1
    (folders[0] / ".epochs.jsonl.ab12").write_text("half")
    before = ResultStore(sweep).trials()
    code, lines, _ = said("gc", sweep)
    assert code == 0
    assert lines[-1] == "5.0 MB freed"
    assert [path.name for path in sweep.rglob("epoch-*")] == ["epoch-1"]
    assert not [path for path in sweep.rglob(".*")]
    assert ResultStore(sweep).trials() == before
    assert said("gc", sweep)[1] == ["nothing to remove"]


def test_gc_is_refused_while_a_driver_runs(said, sweep):
    (lora(sweep) / "checkpoint").mkdir()
    lease = acquire(sweep)
    code, _, error = said("gc", sweep)
    lease.release()
    assert code == 2
    assert "being run by another driver" in error
    assert (lora(sweep) / "checkpoint").is_dir()
    assert ResultStore(sweep).read(lora(sweep)).summary.status is Status.COMPLETED
