"""The grid's command end to end on a real Ray: one shared cluster, records compared with plain engine runs."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
import ray
from ray.tune import ExperimentAnalysis
from ray.util import list_named_actors

from analysis.__main__ import main as analyse
from analysis.cells import cells
from analysis.sweep_records import read_sweeps
from tests.conftest import SECRET, needs_real_data
from tests.support.attempts import job_for
from tests.support.documented import EXAMPLE
from tests.support.runs import events_of, finish, numbers, plain_lines
from tests.support.trials import run_script, specify, start
from tunekit.__main__ import main as tunekit
from tunekit.planning import plugins
from tunekit.planning.resources import Resources
from tunekit.runner import grid as runner_grid
from tunekit.runner import nodes, pack_probe
from tunekit.runner.launch import job_of
from tunekit.runner.pack_probe import with_fastest_pack
from tunekit.schema import Status, TrialSpec
from tunekit.storage.files import copy_folder
from tunekit.storage.lease import acquire
from tunekit.storage.paths import location
from tunekit.store.records import StoredTrial
from tunekit.store.result_store import ResultStore
from tunekit.tasks.classification import label_scores
from tunekit.worker.attempt import Attempt

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster"), pytest.mark.timeout(240)]
TINY = ["--models", "tiny-bert", "--train-limit", "48", "--epochs", "2"]
ONE_WORKER = ["--max-concurrent", 1]
"""For sweeps that need no second worker: a worker takes longer to import torch and transformers than to train them."""


@pytest.fixture
def grid(capfd):
    """Run ``sweeps/main_grid.py`` with arguments in this process: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        return run_script("main_grid.py", *arguments), *capfd.readouterr()

    return run


def stored(folder: Path):
    found, damaged = ResultStore(folder).trials()
    assert not damaged
    return found


def planned(out: str) -> list[TrialSpec]:
    """The specs of a plan that ``--dry-run --json`` printed."""
    trials = json.loads(out)["trials"]
    return [TrialSpec.from_dict({k: v for k, v in one.items() if k not in ("trial_id", "state")}) for one in trials]


def test_a_grid_from_command_to_table(grid, tmp_path):
    demo = ["--preset", "demo", *TINY, *ONE_WORKER, "--methods", "full", "adapter", "lora", "--storage", tmp_path]
    code, out, _ = grid(*demo, "--dry-run", "--json")
    plan = json.loads(out)
    assert (code, plan["total"], plan["new"], plan["done"]) == (0, 6, 6, 0)
    assert set(plan) == {"total", "new", "partial", "done", "failed", "stale", "trials", "datasets"}
    assert {"model", "seed", "trial_id", "state"} <= set(plan["trials"][0])

    code, out, err = grid(*demo)
    assert code == 0
    events = events_of(err)
    assert [event["event"] for event in events].count("epoch") == 12
    assert events[-1] | {"seconds": 0} == {"event": "end", "seconds": 0, "completed": 6, "failed": 0}
    assert "Macro-F1 (percent, test, last epoch)" in out
    trials = stored(tmp_path / "demo")
    assert {trial.summary.status for trial in trials} == {Status.COMPLETED}

    # A re-used actor gives what a fresh process gives, and Ray's own result store the same last scores.
    experiment = next((tmp_path / "demo" / "ray").iterdir())
    frame = ExperimentAnalysis(str(experiment)).dataframe()
    state = json.loads(next(experiment.glob("experiment_state-*.json")).read_text())
    kept = json.loads(state["trial_data"][0][0])
    assert len(str(kept["trial_name_creator"])) < 500, "Tune keeps it with each trial: the grid must not be in it"
    last = {row["config/trial/trial_id"]: row for row in frame.to_dict("records")}
    for trial in trials:
        run = start(trial.spec, tmp_path / "plain")
        finish(run)
        assert numbers(run.records) == numbers(trial.epochs)
        row = last[trial.spec.trial_id]
        for name, value in trial.summary.final_scores.items():
            assert row[name] == value

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "trials").rglob("*")}
    code, out, err = grid(*demo)
    assert (code, "nothing to do" in err, "Macro-F1" in out) == (0, True, True)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "trials").rglob("*")}


def kill_host_once(folder: Path, killed: list[int]) -> None:
    """SIGKILL the device host as soon as a trial has an epoch on record."""
    while not killed:
        if any((folder / "trials").glob("*/epochs.jsonl")):
            for process in psutil.process_iter(["cmdline"]):
                if (process.info["cmdline"] or [""])[0].startswith("ray::DeviceHost"):
                    process.kill()
                    killed.append(process.pid)
        time.sleep(0.02)


@pytest.mark.faults
def test_a_grid_in_packs_outlives_its_host(grid, tmp_path):
    killed: list[int] = []
    watch = threading.Thread(target=kill_host_once, args=(tmp_path / "demo", killed), daemon=True)
    watch.start()
    packs = ["--methods", "lora", "--seeds", 1, 2, 3, "--train-limit", 128, "--epochs", 8, "--pack", 3]
    code, out, _ = grid("--preset", "demo", "--models", "tiny-bert", *packs, "--storage", tmp_path)
    assert (code, len(killed)) == (0, 1), out
    trials = stored(tmp_path / "demo")
    assert max(trial.summary.execution["pack_size"] for trial in trials) > 1
    for trial in trials:
        run = start(trial.spec, tmp_path / "plain")
        finish(run)
        assert [record.epoch for record in trial.epochs] == [record.epoch for record in run.records]
        for ours, theirs in zip(trial.epochs, run.records, strict=True):
            assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-4)
    names = [actor["name"] for actor in list_named_actors(all_namespaces=True)]
    assert not [name for name in names if name.startswith("host-")], "the driver ends its hosts"


@pytest.fixture
def running_ahead(monkeypatch):
    """As on a GPU: an epoch is recorded while the next one trains."""

    def ahead(*rest, **more):
        return replace(job_of(*rest, **more), runs_ahead=True)

    monkeypatch.setattr(runner_grid, "job_of", ahead)


def assert_every_epoch_was_told_once(trials: list[StoredTrial], err: str) -> None:
    """All epochs of ``trials`` are on record, and Tune heard of one after another."""
    events = [event for event in events_of(err) if event["event"] == "epoch"]
    for trial in trials:
        epochs = list(range(1, trial.spec.epochs + 1))
        assert trial.summary.status is Status.COMPLETED
        assert [record.epoch for record in trial.epochs] == epochs
        assert [event["epoch"] for event in events if event["trial"] == trial.spec.label] == epochs


@pytest.mark.usefixtures("running_ahead")
def test_packs_of_a_plugins_method_and_single_trials_run_ahead_on_workers(grid, tmp_path):
    (tmp_path / "norms.py").write_text(EXAMPLE)
    packs = ["--pack", 2, "--max-concurrent", 2, "--seeds", 1, 2, "--epochs", 3, "--storage", tmp_path]
    arguments = ["--preset", "demo", *TINY, "--methods", "ia3", "norms", *packs]
    arguments += ["--plugin", tmp_path / "norms.py"]
    code, out, _ = grid(*arguments, "--dry-run")
    assert (code, out.count("trials are single, not in packs (ia3: ")) == (0, 1)
    code, out, err = grid(*arguments)
    assert code == 0, out
    assert_every_epoch_was_told_once(stored(tmp_path / "demo"), err)
    sizes: dict[str, set[int]] = {}
    for trial in stored(tmp_path / "demo"):
        sizes.setdefault(trial.spec.method, set()).add(trial.summary.execution["pack_size"])
    assert set(sizes) == {"ia3", "norms"}
    assert sizes["ia3"] == {1}
    assert json.loads((tmp_path / "demo" / "sweep.json").read_text())["requests"][0]["plugins"] == plugins.described()

    (tmp_path / "norms.py").write_text(EXAMPLE.replace('"weight"', '"bias"'))
    code, out, _ = grid(*arguments, "--dry-run")
    assert out.count("made by other code") == 2
    plugins._forget("norms.py")
    code, _, err = grid(*arguments[:-2])
    assert (code, len(plain_lines(err))) == (2, 1)
    assert "unknown method 'norms'" in err


@pytest.mark.usefixtures("running_ahead")
def test_failed_cells_are_named_the_rest_runs_ahead_and_retry_is_asked_for(grid, tmp_path):
    arguments = ["--preset", "demo", *TINY, "--methods", "full", "lora", "--seeds", 1, "--epochs", 3]
    bad = [*arguments, *ONE_WORKER, "--learning-rate", "full=1e30", "--storage", tmp_path]
    _, out, _ = grid(*bad, "--dry-run", "--json")
    specs = {spec.method: spec for spec in planned(out)}
    diverging = Attempt(job_for(specs["full"], tmp_path / "demo"))
    while diverging.status is None:
        diverging.step()

    code, _, err = grid(*bad, "--retry-failed")
    assert code == 1
    said = " ".join(event.get("text", "") for event in events_of(err))
    assert "failed: tiny-bert · demo · full · seed 1 (diverged: the training loss became nan at step" in said
    assert '"completed": 1, "failed": 1' in err
    trials = {trial.spec.method: trial for trial in stored(tmp_path / "demo")}
    assert {method: trial.summary.status for method, trial in trials.items()} == {
        "full": Status.DIVERGED,
        "lora": Status.COMPLETED,
    }
    assert_every_epoch_was_told_once([trials["lora"]], err)
    ends = sorted(path.name for path in trials["full"].folder.glob("summary*.json"))
    assert ends == ["summary-1.json", "summary.json"], "it was tried again, and how it ended before is kept"

    code, out, err = grid(*bad)
    assert code == 1
    assert "nothing to do but failed trials" in err
    assert "- (0/1)" in out
    assert "1 diverged, so the row takes no part in bold type and tests" in " ".join(out.split())


@needs_real_data
def test_real_data_end_to_end(grid, tmp_path):
    arguments = ["--preset", "laptop", *TINY, *ONE_WORKER, "--methods", "lora", "--seeds", 1, "--storage", tmp_path]
    code, out, _ = grid(*arguments)
    assert code == 0
    trials = stored(tmp_path / "laptop")
    assert {trial.spec.dataset for trial in trials} == {"acl_arc", "restaurant"}
    for trial in trials:
        rows = pd.read_parquet(trial.folder / "predictions.parquet").query("split == 'test' and epoch == 2")
        assert len(rows) == {"acl_arc": 139, "restaurant": 1120}[trial.spec.dataset]
        num_labels = {"acl_arc": 6, "restaurant": 3}[trial.spec.dataset]
        found = label_scores(rows["gold"].to_numpy(), rows["predicted"].to_numpy(), num_labels)
        assert found["macro_f1"] == trial.summary.final_scores["test_macro_f1"]


def test_what_can_not_be_built_is_refused_before_ray(grid, tmp_path):
    arguments = ["--preset", "demo", *TINY, "--methods", "adapter", "--storage", tmp_path]
    code, _, err = grid(*arguments, "--method-params", "adapter.reduction_factor=64")
    assert (code, len(plain_lines(err))) == (2, 1)
    assert "reduction_factor 64 exceeds hidden size 32" in err
    assert not (tmp_path / "demo" / "starts").exists()


def test_a_second_driver_is_refused(grid, tmp_path):
    lease = acquire(tmp_path / "demo")
    code, _, err = grid("--preset", "demo", *TINY, "--methods", "lora", "--storage", tmp_path)
    lease.release()
    assert code == 2
    assert "being run by another driver" in err
    assert len(plain_lines(err)) == 1


def test_a_plain_ray_tune_experiment_is_imported_with_its_means(tmp_path, capfd):
    def report_scores(config):
        for epoch in (1, 2):
            ray.tune.report({"eval": {"f1": 0.4 + config["lr"] + config["seed"] * epoch / 100}})

    ray.tune.Tuner(
        report_scores,
        param_space={"lr": ray.tune.grid_search([0.1, 0.2]), "seed": ray.tune.grid_search([1, 2, 3])},
        run_config=ray.tune.RunConfig(name="plain", storage_path=str(tmp_path), verbose=0),
        tune_config=ray.tune.TuneConfig(reuse_actors=True),
    ).fit()
    mapping = ["model:=x", "dataset:=y", "method:=z", "seed=config/seed", "test_macro_f1=eval/f1"]
    assert analyse(["import", str(tmp_path / "plain"), "--map", *mapping, "--out", str(tmp_path / "store")]) == 0
    found = {cell.settings["lr"]: cell.sample("macro_f1").mean for cell in cells(read_sweeps([tmp_path / "store"]))}
    frame = ExperimentAnalysis(str(tmp_path / "plain")).dataframe()
    assert found == pytest.approx(frame.groupby("config/lr")["eval/f1"].mean().to_dict())
    assert len(found) == 2
    capfd.readouterr()


def test_a_node_of_other_code_refuses_its_first_trial_which_ends_the_run(grid, tmp_path, monkeypatch):
    arguments = ["--preset", "demo", *TINY, *ONE_WORKER, "--methods", "lora", "--epochs", 1, "--storage", tmp_path]
    with monkeypatch.context() as patched:
        patched.setattr(nodes, "source_hash", lambda: "another")
        code, out, err = grid(*arguments)
    assert (code, len(plain_lines(err))) == (2, 1), out
    assert "its tunekit has source hash" in err
    assert "the driver's another; submit with --working-dir" in err
    assert stored(tmp_path / "demo") == []
    plan = json.loads(grid(*arguments, "--dry-run", "--json")[1])
    assert (plan["new"], plan["total"]) == (2, 2), "nothing was marked as failed"


def test_a_grid_of_own_data_on_an_object_store_goes_on_and_reads_as_on_disk(grid, bucket, tmp_path, capfd):
    rows = [{"quote": f"it was {word} {number}", "kind": word} for number in range(40) for word in ("good", "bad")]
    path = tmp_path / "my reviews.csv"
    pd.DataFrame(rows).to_csv(path, index=False)

    def arguments(file: Path) -> list[object]:
        own = ["--datasets", "demo", file, "--text-column", "quote", "--label-column", "kind", "--seeds", 1]
        return ["--preset", "demo", *TINY, *ONE_WORKER, "--methods", "lora", *own, "--storage", f"{bucket}/sweeps"]

    _, out, _ = grid(*arguments(path), "--dry-run", "--json")
    [of_demo] = [spec for spec in planned(out) if spec.dataset == "demo"]
    sweep = location(f"{bucket}/sweeps/demo")
    begun = start(of_demo, sweep)
    begun.train_epoch()
    code, out, err = grid(*arguments(path))
    assert code == 0, err
    events = events_of(err)
    assert [one["storage"] for one in events if one["event"] == "start"] == [str(sweep)]
    assert "going on after epoch 1 of 2" in (begun.folder / "log.txt").read_text()
    [of_own] = [trial.spec.dataset for trial in stored(sweep) if trial.spec.dataset != "demo"]
    assert of_own.startswith("my-reviews-")
    assert (sweep / "data" / f"{of_own}.parquet").is_file()

    moved = tmp_path / "elsewhere" / "my reviews.csv"
    moved.parent.mkdir()
    path.rename(moved)
    code, table, again = grid(*arguments(moved))
    assert (code, "nothing to do" in again) == (0, True)

    copy_folder(sweep, tmp_path / "demo")
    for place, name in ((sweep, "server"), (tmp_path / "demo", "disk")):
        assert analyse([str(place), "--out", str(tmp_path / name)]) == 0
    tables = sorted(path.name for path in (tmp_path / "disk" / "tables").iterdir())
    assert tables == sorted(path.name for path in (tmp_path / "server" / "tables").iterdir())
    for name in tables:
        same = [(tmp_path / place / "tables" / name).read_bytes() for place in ("disk", "server")]
        assert same[0] == same[1], name
    printed = [out, err, table, again, *capfd.readouterr()]
    written = [path.read_bytes() for path in sweep.rglob("*")]
    assert not any(SECRET in text for text in printed)
    assert not any(SECRET.encode() in content for content in written)
    assert tunekit(["gc", str(sweep)]) == 0
    assert tunekit(["status", str(sweep)]) == 0
    assert "done" in capfd.readouterr().out


class Notes:
    """The lines that a run says before its trials."""

    def __init__(self):
        self.lines = []

    def note(self, line):
        self.lines.append(line)

    def wait(self, what):
        self.lines.append(what)


def test_a_probe_in_a_process_of_its_own_chooses_how_many_trials_train_together(tmp_path, monkeypatch):
    jobs = [job_for(specify(seed=seed), tmp_path) for seed in (1, 2, 3)]
    jobs += [job_for(specify(method="full", seed=seed), tmp_path) for seed in (1, 2)]
    allowed, by_id, said = (
        Resources(trials_per_device=2, probed=True),
        {one.spec.trial_id: one for one in jobs},
        Notes(),
    )
    chosen = with_fastest_pack(allowed, by_id, said).trials_per_device
    assert chosen in (1, 2), "the largest pack is of three trials, and memory has room for two"
    assert said.lines[1].startswith(f"{chosen} trial")
    assert "lora of tiny-bert on demo" in said.lines[1]
    assert not (tmp_path / "trials").exists()
    alone = with_fastest_pack(allowed, {jobs[0].spec.trial_id: jobs[0]}, Notes())
    assert alone.trials_per_device == 1

    class Broken:
        def run(self, jobs):
            raise MemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(pack_probe, "_Probe", Broken)
        said = Notes()
        assert with_fastest_pack(allowed, by_id, said).trials_per_device == 2
        assert said.lines[-1].endswith("the probe of packs failed (no room)")

    monkeypatch.setattr(pack_probe, "TIMEOUT_SECONDS", 0.01)
    said = Notes()
    assert with_fastest_pack(allowed, by_id, said).trials_per_device == 2
    assert "the probe of packs failed" in said.lines[-1]
