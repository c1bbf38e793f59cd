"""Drivers on a real Ray: killed at chosen points, and ended by signals. The same command goes on."""

import re
import signal
import time

import pytest

from tests.support.drivers import GRID, begin, compared, logs, redone, said, summaries, wait_for
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]
QUICK = (*GRID, "--methods", "adapter", "lora", "--epochs", "4", "--train-limit", "96", "--max-concurrent", "1")
SWEEP = (*GRID, "--methods", "adapter", "lora", "--seeds", "1", "2", "3", "--epochs", "4", "--train-limit", "96")
SEARCH = ("sweeps/peft_search.py", "--preset", "demo", "--models", "tiny-bert", "--methods", "lora", "--trials", "4")
POINTS = [
    ("os.rename", "sweep.json", 1),
    ("os.mkdir", "/ray/", 1),
    ("os.rename", "/checkpoint/epoch-", 1),
    ("os.rename", "epochs.jsonl", 2),
    ("os.rename", "summary.json", 1),
    ("open", "result.json", 2),
]
"""Writes of a driver and of its workers; test_kill_points.py has those of a trial one by one."""


def test_sigkill_of_the_driver_changes_no_bit_and_redoes_no_finished_trial(tmp_path):
    store = ResultStore(tmp_path / "demo")
    driver = begin(tmp_path, *QUICK)
    wait_for(lambda: len(list(store.trials_folder.glob("*/epochs.jsonl"))) > 1, driver)
    driver.kill()
    driver.wait()
    before = summaries(store)
    assert 0 < len(before) < 4
    assert begin(tmp_path, *QUICK).wait(timeout=240) == 0, said(tmp_path)[-2000:]
    assert "died without ending its sweep; this one takes over" in said(tmp_path)
    after = summaries(store)
    assert {name: after[name] for name in before} == before, "a finished trial was trained again"
    compared(store, tmp_path / "unbroken", 4)


@pytest.mark.faults
def test_drivers_killed_one_after_another(tmp_path, figures):
    store = ResultStore(tmp_path / "demo")
    kills, again = 0, 0
    for event, path, nth in POINTS:
        fault = {"event": event, "path": path, "nth": nth, "action": "kill"}
        before = summaries(store)
        code = begin(tmp_path, *SWEEP, fault=fault).wait(timeout=180)
        assert code in (0, -signal.SIGKILL), said(tmp_path)[-2000:]
        kills += code != 0
        after = summaries(store)
        again += sum(after[name] != before[name] for name in before)
    assert begin(tmp_path, *SWEEP).wait(timeout=240) == 0, said(tmp_path)[-2000:]
    assert "Traceback" not in said(tmp_path)
    assert again == 0
    assert kills == len(POINTS)
    found = compared(store, tmp_path / "unbroken", 6)
    assert len(redone(store)) == logs(store).count("trained again")
    figures(
        "SIGKILL of the driver", kills=kills, **found, **{"finished redone": again, "epochs redone": max(redone(store))}
    )


@pytest.mark.faults
def test_ctrl_c_leaves_within_ten_seconds_and_loses_nothing(tmp_path, figures):
    store = ResultStore(tmp_path / "demo")
    driver = begin(tmp_path, *SWEEP)
    wait_for(lambda: bool(summaries(store)), driver)
    driver.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert driver.wait(timeout=30) == 130
    assert time.monotonic() - started < 10
    rows = {path: path.read_bytes() for path in store.trials_folder.glob("*/epochs.jsonl")}
    before = summaries(store)
    assert begin(tmp_path, *SWEEP).wait(timeout=240) == 0, said(tmp_path)[-2000:]
    for path, content in rows.items():
        kept = [line.split(b'"epoch_seconds"')[0] for line in content.splitlines()]
        now = [line.split(b'"epoch_seconds"')[0] for line in path.read_bytes().splitlines()]
        assert now[: len(kept)] == kept
    after = summaries(store)
    again = sum(after[name] != before[name] for name in before)
    assert again == 0
    figures("Ctrl-C to the driver", kills=1, **compared(store, tmp_path / "unbroken", 6), **{"finished redone": again})


@pytest.mark.faults
@pytest.mark.parametrize(("sweep", "command"), [("demo", SWEEP), ("search-demo", SEARCH)])
def test_sigterm_ends_in_order_and_the_same_command_goes_on(sweep, command, tmp_path, figures):
    store = ResultStore(tmp_path / sweep)
    driver = begin(tmp_path, *command)
    wait_for(lambda: '"event": "epoch"' in said(tmp_path), driver)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=30) == 75
    assert "interrupted; the same command goes on from here" in said(tmp_path)
    before = summaries(store)
    assert begin(tmp_path, *command).wait(timeout=240) == 0, said(tmp_path)[-2000:]
    after = summaries(store)
    assert {trial: after[trial] for trial in before} == before
    assert "Traceback" not in said(tmp_path)
    assert not re.search("taking over", said(tmp_path)), "the lease was given back"
    figures("SIGTERM to the driver", kills=1, **{"finished redone": 0})
