"""Drivers as processes, broken on purpose, and what they left compared with unbroken runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd
import psutil

from tests.conftest import ROOT
from tests.support.runs import finish, numbers
from tests.support.trials import start
from tunekit.schema import Status, TrialSpec
from tunekit.store.records import StoredTrial
from tunekit.store.result_store import ResultStore

TITLED: Mapping[str, object] = {"event": "none", "path": "none", "nth": 1, "action": "EIO"}
"""A fault that never comes: the processes carry the driver's id, by which ``workers`` finds them."""
BEGUN: list[subprocess.Popen[bytes]] = []
"""Drivers of the test that runs; what a failed one leaves alive is killed (``conftest.py``)."""
INJECT = Path(__file__).with_name("inject")
GRID = ("sweeps/main_grid.py", "--preset", "demo", "--models", "tiny-bert")


def begin(
    storage: Path, *arguments: str, fault: Mapping[str, object] | None = None, **env: str
) -> subprocess.Popen[bytes]:
    """Start a driver on ``storage`` in its own session; it writes to ``driver.log`` there."""
    storage.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | env
    if fault is not None:
        environment |= {"PYTHONPATH": str(INJECT), "FAULT": json.dumps(fault)}
    with (storage / "driver.log").open("ab") as log:
        driver = subprocess.Popen(
            [sys.executable, *arguments, "--storage", str(storage)],
            cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True,
        )  # fmt: skip
    BEGUN.append(driver)
    return driver


def said(storage: Path) -> str:
    """All that the drivers on ``storage`` wrote."""
    return (storage / "driver.log").read_text(encoding="utf-8")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    """Until ``condition`` holds, while ``process`` lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def workers(driver: subprocess.Popen[bytes], actor: str = "") -> list[int]:
    """Processes of the driver's Ray that run actors, or ones whose class is ``actor``: Ray gives each its title."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        title = " ".join(process.info["cmdline"] or [])
        ours = (process.info["environ"] or {}).get("FAULT_DRIVER") == str(driver.pid)
        if ours and title.startswith(f"ray::{actor}") and "IDLE" not in title:
            found.append(process.pid)
    return found


def summaries(store: ResultStore) -> dict[str, float]:
    """Ended trials and when their summary was written."""
    return {path.parent.name: path.stat().st_mtime for path in store.trials_folder.glob("*/summary.json")}


def logs(store: ResultStore) -> str:
    """All trials' log.txt."""
    return "".join(path.read_text(encoding="utf-8") for path in store.trials_folder.glob("*/log.txt"))


def silent(store: ResultStore) -> int:
    """Attempts, after a trial's first, of which log.txt does not say why the one before broke off."""
    count = 0
    for path in store.trials_folder.glob("*/log.txt"):
        told = True
        for line in path.read_text(encoding="utf-8").splitlines():
            if " begins, " in line:
                count += not told
                told = False
            told = told or "broke off" in line or "trying again" in line
    return count


def redone(store: ResultStore) -> list[int]:
    """Recorded epochs that each attempt trained again."""
    return [int(count) for count in re.findall(r"(\d+) recorded epochs", logs(store))]


def unbroken(spec: TrialSpec, scratch: Path) -> StoredTrial:
    """The trial of ``spec``, trained without a break into ``scratch``, where a later comparison finds it."""
    store = ResultStore(scratch)
    if not (store.folder(spec) / "summary.json").exists():
        finish(start(spec, scratch))
    return store.read(store.folder(spec))


def compared(store: ResultStore, scratch: Path, num_trials: int, names: Iterable[str] = ()) -> dict[str, int]:
    """Figures of a completed sweep against unbroken runs; asserts that nothing is missing, double or another bit."""
    found, damaged = store.trials()
    assert not damaged
    assert len(found) == num_trials
    assert {trial.summary and trial.summary.status for trial in found} == {Status.COMPLETED}
    missing = duplicate = other = 0
    for trial in found:
        if names and trial.folder.name not in names:
            continue
        whole = unbroken(trial.spec, scratch)
        seen = Counter(record.epoch for record in trial.epochs)
        missing += len(set(range(1, trial.spec.epochs + 1)) - set(seen))
        duplicate += sum(count - 1 for count in seen.values())
        same = (
            numbers(whole.epochs) == numbers(trial.epochs)
            and (whole.folder / "steps.csv").read_bytes() == (trial.folder / "steps.csv").read_bytes()
            and whole.summary.final_scores == trial.summary.final_scores
            and whole.summary.train_scores == trial.summary.train_scores
        )
        ours, theirs = (pd.read_parquet(one.folder / "predictions.parquet") for one in (whole, trial))
        other += not (same and ours.map(str).equals(theirs.map(str)))
    assert (missing, duplicate, other) == (0, 0, 0)
    return {"trials": len(found), "missing": missing, "duplicate": duplicate, "differing": other}


def kill(pid: int) -> None:
    """SIGKILL; one that is gone already is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
