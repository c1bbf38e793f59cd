"""Workers that die while a driver runs: their trials go on from their checkpoints, and it is said."""

import random
import time

import pytest

from tests.faults.drive import (
    GRID,
    TITLED,
    begin,
    compared,
    kill,
    logs,
    redone,
    said,
    silent,
    summaries,
    workers,
)
from tunekit.store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]
KILLS, EPOCHS = 20, 16
SWEEP = (
    *GRID, "--methods", "adapter", "lora", "--seeds", "1", "2", "3", "4",
    "--epochs", str(EPOCHS), "--train-limit", "96",
)  # fmt: skip


def begun(store):
    """Attempts that have begun, over all trials."""
    return logs(store).count(" begins, ")


def recorded(store):
    """Epochs on record, over all trials."""
    return sum(path.read_bytes().count(b"\n") for path in store.trials_folder.glob("*/epochs.jsonl"))


def figures_of(driver, store, ended):
    """Wait for the driver: all breaks are told, and no trial of ``ended``, summaries seen on the way, was redone."""
    console = store.root.parent
    assert driver.wait(timeout=300) == 0, said(console)[-2000:]
    last = summaries(store)
    found = {"finished redone": sum(last[name] != ended[name] for name in ended), "reason not said": silent(store)}
    assert set(found.values()) == {0}, logs(store)
    assert "Traceback" not in said(console)
    assert said(console).count("broke off") == logs(store).count("broke off") > 0
    return {"tracebacks": 0, "epochs redone": max(redone(store)), **found}


def test_twenty_workers_killed_at_random(tmp_path, figures):
    store, draw = ResultStore(tmp_path / "demo"), random.Random(0)
    driver = begin(tmp_path, *SWEEP, "--max-concurrent", "2", fault=TITLED)
    kills, seen, ended = 0, 0, {}
    while kills < KILLS and driver.poll() is None:
        ended = summaries(store) | ended
        if begun(store) < seen + 2:
            time.sleep(0.05)
            continue
        # After so many more epochs as chance has it, however fast the machine is.
        wanted = recorded(store) + draw.randrange(1, 6)
        while recorded(store) < wanted and driver.poll() is None:
            time.sleep(0.02)
        for pid in workers(driver)[: KILLS - kills]:
            kill(pid)
            kills += 1
        seen = begun(store)
    found = figures_of(driver, store, ended)
    assert kills == KILLS
    figures("SIGKILL of workers", kills=kills, **found, **compared(store, tmp_path / "unbroken", 8))
