"""Drivers on a real Ray: killed at chosen points, and ended by signals. The same command goes on."""

import re
import signal

import pytest

from tests.faults.drive import GRID, begin, compared, logs, redone, said, summaries, wait_for
from tunekit.store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(1500)]
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
