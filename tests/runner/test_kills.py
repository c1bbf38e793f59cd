"""The driver is killed or interrupted; the same command goes on, and no bit is another's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.engine.test_run import finish, numbers
from tests.helpers import start
from tunekit.schema import Status
from tunekit.store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(480)]
COMMAND = [
    sys.executable, "sweeps/main_grid.py", "--preset", "demo", "--models", "tiny-bert",
    "--methods", "full", "adapter", "lora", "--epochs", "6", "--train-limit", "128",
]  # fmt: skip


def begin(storage: Path) -> subprocess.Popen:
    log = (storage / "driver.log").open("ab")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [*COMMAND, "--storage", str(storage)], cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True
    )


def summaries(store: ResultStore) -> dict[str, float]:
    """Completed trials and when their summary was written."""
    return {path.parent.name: path.stat().st_mtime for path in store.trials_folder.glob("*/summary.json")}


def wait_for(condition, process: subprocess.Popen, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def assert_equal_to_unbroken(store: ResultStore, scratch: Path) -> None:
    found, damaged = store.trials()
    assert (len(found), damaged) == (6, [])
    for trial in found:
        assert trial.summary.status is Status.COMPLETED
        run = start(trial.spec, scratch)
        finish(run)
        assert numbers(run.records) == numbers(trial.epochs)
        assert (run.folder / "steps.csv").read_bytes() == (trial.folder / "steps.csv").read_bytes()
        unbroken = ResultStore(scratch).read(run.folder).summary
        assert (trial.summary.final_scores, trial.summary.train_scores) == (
            unbroken.final_scores,
            unbroken.train_scores,
        )
        ours, theirs = (pd.read_parquet(folder / "predictions.parquet") for folder in (run.folder, trial.folder))
        assert ours.map(str).equals(theirs.map(str))


def test_sigkill_of_the_driver_changes_no_bit_and_redoes_no_finished_trial(tmp_path):
    store = ResultStore(tmp_path / "demo")
    driver = begin(tmp_path)
    wait_for(lambda: len(summaries(store)) >= 2, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    before = summaries(store)
    assert len(before) < 6
    again = begin(tmp_path)
    assert again.wait(timeout=150) == 0, (tmp_path / "driver.log").read_text()[-2000:]
    assert "taking over the lease of a dead driver" in (tmp_path / "driver.log").read_text()
    after = summaries(store)
    assert {name: after[name] for name in before} == before, "a finished trial was trained again"
    assert_equal_to_unbroken(store, tmp_path / "unbroken")


def test_ctrl_c_leaves_within_ten_seconds_with_130_and_loses_nothing(tmp_path):
    store = ResultStore(tmp_path / "demo")
    driver = begin(tmp_path)
    wait_for(lambda: len(summaries(store)) >= 1, driver)
    os.kill(driver.pid, signal.SIGINT)
    started = time.monotonic()
    assert driver.wait(timeout=30) == 130
    assert time.monotonic() - started < 10
    rows = {path: path.read_bytes() for path in store.trials_folder.glob("*/epochs.jsonl")}
    assert "interrupted; the same command goes on from here" in (tmp_path / "driver.log").read_text()
    again = begin(tmp_path)
    assert again.wait(timeout=150) == 0, (tmp_path / "driver.log").read_text()[-2000:]
    for path, content in rows.items():
        strip = [line.split(b'"epoch_seconds"')[0] for line in content.splitlines()]
        now = [line.split(b'"epoch_seconds"')[0] for line in path.read_bytes().splitlines()]
        assert now[: len(strip)] == strip
    assert_equal_to_unbroken(store, tmp_path / "unbroken")
