"""The search's command on a real Ray: sealed test, divergence, confirming trials, best.yaml; the driver killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import takewhile

import pandas as pd
import pytest

from analysis.statistics.patience import stopped
from tests.conftest import ROOT
from tests.support.trials import run_script
from tunekit.schema import EpochRecord, Status
from tunekit.storage.paths import location
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import TrialState

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster"), pytest.mark.timeout(600)]
TINY = ["--preset", "demo", "--models", "tiny-bert", "--datasets", "demo", "--train-limit", "48"]


@pytest.fixture
def command(capfd):
    """Run a script of ``sweeps`` with arguments in this process: (exit code, standard output, standard error)."""

    def run(script: str, *arguments: object) -> tuple[int, str, str]:
        return run_script(script, *arguments), *capfd.readouterr()

    return run


def test_a_search_from_command_to_best_yaml(command, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("lora: {learning_rate: [5.0e-4, 1.0e+30], r: {low: 1, high: 32}, lora_alpha: [8]}\n")
    arguments = [
        *TINY, "--methods", "full", "lora", "--trials", 2, "--epochs", 3, "--seeds-per-trial", 2, "--space", space,
        "--sampler-seed", 1, "--confirm-seeds", 1, "--patience", 2, "--max-concurrent", 1, "--storage", tmp_path,
    ]  # fmt: skip
    code, out, err = command("peft_search.py", *arguments)
    assert code == 0, out + err
    store = ResultStore(tmp_path / "search-demo")
    search = store.search()
    assert [(study.method, len(study.trials)) for study in search.studies] == [("full", 2), ("lora", 2)]
    assert sum(trial.epochs for study in search.studies for trial in study.trials) <= 2 * 2 * 2 * 3
    stored, damaged = store.trials()
    assert damaged == []
    by_id = {trial.spec.trial_id: trial for trial in stored}

    # No code path of the search scores test: every record is null, no prediction of it is stored.
    searched = [by_id[one] for study in search.studies for trial in study.trials for one in trial.trial_ids]
    assert {trial.spec.seed for trial in searched} == {1001, 1002}
    for trial in searched:
        assert trial.spec.score_test is False
        for record in trial.epochs:
            assert record.val_macro_f1 is not None
            assert all(getattr(record, f"test_{name}") is None for name in ("loss", "accuracy", "micro_f1", "macro_f1"))
        if trial.epochs:
            assert set(pd.read_parquet(trial.folder / "predictions.parquet")["split"]) == {"val"}

    lora = search.studies[1]
    failed = [trial for trial in lora.trials if trial.params["learning_rate"] == 1e30]
    assert failed
    assert {trial.state for trial in failed} == {TrialState.FAILED}
    for study in search.studies:
        for trial in study.trials:
            if trial.state is TrialState.COMPLETE:
                best = [max(r.val_macro_f1 for r in by_id[one].epochs) for one in trial.trial_ids]
                assert trial.values == pytest.approx((sum(best) / 2,))
        assert {choice.role for choice in study.choices} == {"default", "best", "1se"}
        for choice in study.choices:
            confirmed = [by_id[one] for one in choice.trial_ids]
            # Three epochs are too few for this patience to end a trial.
            assert [(one.spec.seed, one.spec.score_test, one.spec.patience) for one in confirmed] == [(1, True, 2)]
            assert all(trial.summary.status is Status.COMPLETED for trial in confirmed)
            assert all(isinstance(trial.epochs[-1], EpochRecord) for trial in confirmed)
            assert all(trial.epochs[-1].test_macro_f1 is not None for trial in confirmed)
    assert "Default against tuned" in out
    assert "within one standard error of the best: trials " in out
    lines = out.splitlines()
    for method in ("Full fine-tuning", "LoRA"):
        begin = lines.index(f"Tiny BERT · {method} · Demo")
        # A configuration that is chosen in several roles has one line.
        choices = takewhile(lambda line: line.startswith("  ") and ": " in line, lines[begin + 1 :])
        roles = ", ".join(line.partition(":")[0].strip() for line in choices).split(", ")
        assert roles == ["default", "best", "1se"]

    best = store.root / "best.yaml"
    code, out, err = command("main_grid.py", "--config", best, "--storage", tmp_path, "--dry-run", "--json")
    assert code == 0, err
    planned = {trial["trial_id"] for trial in json.loads(out)["trials"]}
    chosen = {choice.trial_ids[0] for study in search.studies for choice in study.choices if choice.role == "best"}
    assert planned == chosen

    before = {path: path.stat().st_mtime_ns for path in store.trials_folder.rglob("*")}
    code, out, err = command("peft_search.py", *arguments)
    assert (code, "nothing to do" in err, "percent" in out) == (0, True, True), "notes go to standard error"
    assert before == {path: path.stat().st_mtime_ns for path in store.trials_folder.rglob("*")}
    code, _, err = command("peft_search.py", *arguments, "--sampler", "random")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(errors)) == (2, 1), "the other lines are notes"
    assert "was begun with another sampler" in errors[0]


def test_patience_and_asha_end_trials_of_one_search(command, tmp_path):
    """ASHA prunes the weak ones, and a trial that patience ends is complete with its best epoch as its value."""
    tiny = ["--preset", "demo", "--models", "tiny-bert", "--datasets", "demo-regression", "--train-limit", "48"]
    few = ["--methods", "full", "--trials", 5, "--epochs", 9, "--patience", 1, "--sampler", "random"]
    # The default is the first trial, which ASHA never ends where one trains at a time; at this rate patience does.
    order = ["--learning-rate", "0.005", "--max-concurrent", 1, "--confirm-seeds"]
    code, out, err = command("peft_search.py", *tiny, *few, *order, "--storage", tmp_path)
    assert code == 0, out + err
    store = ResultStore(tmp_path / "search-demo")
    [study] = store.search().studies
    by_id = {trial.spec.trial_id: trial for trial in store.trials()[0]}
    curves = {
        one.number: [record.score("val_pearson") for record in by_id[one.trial_ids[0]].epochs] for one in study.trials
    }
    ended = {state: [one for one in study.trials if one.state is state] for state in TrialState}
    assert not ended[TrialState.FAILED]
    for trial in ended[TrialState.COMPLETE]:
        assert len(curves[trial.number]) == stopped(curves[trial.number], 1).last
        assert trial.values == pytest.approx((max(curves[trial.number]),))
    assert any(len(curves[trial.number]) < 9 for trial in ended[TrialState.COMPLETE]), "patience has ended none"
    assert ended[TrialState.PRUNED], "ASHA has ended none"
    assert {len(curves[trial.number]) for trial in ended[TrialState.PRUNED]} <= {1, 3}


@pytest.mark.faults
def test_sigkill_of_the_driver_at_several_points(cluster, tmp_path):
    arguments = [
        *TINY, "--methods", "lora", "--epochs", "2", "--trials", "6", "--max-concurrent", "1", "--scheduler", "asha",
        "--confirm-seeds", "--storage", str(tmp_path),
    ]  # fmt: skip
    environment = {**os.environ, "RAY_ADDRESS": cluster}

    def begin(sweep: str) -> subprocess.Popen:
        log = (tmp_path / f"{sweep}.log").open("ab")
        command = [sys.executable, "sweeps/peft_search.py", *arguments, "--sweep", sweep]
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True)

    def log_of(sweep: str) -> str:
        return (tmp_path / f"{sweep}.log").read_text()

    def suggestions(sweep: str) -> list[tuple[int, str]]:
        events = [json.loads(line) for line in log_of(sweep).splitlines() if line.startswith('{"event": "suggested"')]
        return [(event["number"], json.dumps(event["params"], sort_keys=True)) for event in events]

    unbroken = begin("unbroken")
    for marks in (1, 4):
        driver = begin("broken")
        deadline = time.monotonic() + 400
        while len(set(suggestions("broken"))) < marks or not list((tmp_path / "broken").glob("trials/*/epochs.jsonl")):
            assert driver.poll() is None, log_of("broken")[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    for driver, sweep in ((begin("broken"), "broken"), (unbroken, "unbroken")):
        assert driver.wait(timeout=500) == 0, log_of(sweep)[-2000:]
    assert "queued again, since an earlier command died" in log_of("broken")
    found = [ResultStore(tmp_path / sweep).search().studies[0] for sweep in ("broken", "unbroken")]
    broken, whole = ([(t.number, t.params, t.state, t.values, t.trial_ids) for t in study.trials] for study in found)
    assert broken == whole
    assert len(broken) == 6
    assert set(suggestions("broken")) == set(suggestions("unbroken"))
    for trial in ResultStore(tmp_path / "broken").trials()[0]:
        steps = pd.read_csv(trial.folder / "steps.csv")
        assert max(Counter(steps["step"]).values()) == 1


def test_search_seeds_train_as_a_pack_on_an_object_store_where_nothing_is_repeated(command, bucket):
    arguments = [
        *TINY, "--methods", "lora", "--trials", 2, "--epochs", 2, "--seeds-per-trial", 2, "--scheduler", "none",
        "--confirm-seeds", "--pack", 2, "--max-concurrent", 1, "--storage", bucket,
    ]  # fmt: skip
    code, out, err = command("peft_search.py", *arguments)
    assert code == 0, out + err
    sweep = location(f"{bucket}/search-demo")
    [study] = ResultStore(sweep).search().studies
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    stored, damaged = ResultStore(sweep).trials()
    assert damaged == []
    stored = [trial for trial in stored if not trial.spec.score_test]
    assert sorted(trial.spec.seed for trial in stored) == [1001, 1001, 1002, 1002]
    assert {trial.summary.execution["pack_size"] for trial in stored} == {2}
    assert all([record.epoch for record in trial.epochs] == [1, 2] for trial in stored)

    assert {"best.yaml", "search.json", "study.journal", "sweep.json"} <= {path.name for path in sweep.iterdir()}
    journal = (sweep / "study.journal").read_bytes()
    code, _, err = command("peft_search.py", *arguments)
    assert (code, "nothing to do" in err) == (0, True)
    assert (sweep / "study.journal").read_bytes().startswith(journal)
