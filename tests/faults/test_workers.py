"""Workers and nodes that die while a driver runs: their trials go on from their checkpoints, and it is said."""

import random
import re
import signal
import time

import pytest

from tests.faults.drive import GRID, begin, compared, kill, logs, redone, said, workers
from tunekit.store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(1500)]
KILLS = 20
SWEEP = (
    *GRID, "--methods", "adapter", "lora", "--seeds", "1", "2", "3", "4",
    "--epochs", "12", "--train-limit", "128", "--max-concurrent", "2",
)  # fmt: skip


def begun(store):
    """Attempts that have begun, over all trials."""
    return logs(store).count(" begins")


def recorded(store):
    """Epochs on record, over all trials."""
    return sum(path.read_bytes().count(b"\n") for path in store.trials_folder.glob("*/epochs.jsonl"))


def test_twenty_workers_killed_at_random(tmp_path, figures):
    store, draw = ResultStore(tmp_path / "demo"), random.Random(0)
    driver = begin(tmp_path, *SWEEP, fault={"event": "none", "path": "none", "nth": 1, "action": "EIO"})
    kills, seen = 0, 0
    while kills < KILLS and driver.poll() is None:
        if begun(store) < seen + 2:
            time.sleep(0.05)
            continue
        # After so many more epochs as chance has it, however fast the machine is.
        wanted = recorded(store) + draw.randrange(6)
        while recorded(store) < wanted and driver.poll() is None:
            time.sleep(0.02)
        for pid in workers(driver)[: KILLS - kills]:
            kill(pid)
            kills += 1
        seen = begun(store)
    assert driver.wait(timeout=300) == 0, said(tmp_path)[-2000:]
    assert kills == KILLS
    assert "Traceback" not in said(tmp_path)
    found = compared(store, tmp_path / "unbroken", 8)
    unsaid = begun(store) - 8 - len(re.findall(r"attempt \d+ broke off", said(tmp_path)))
    more = {"finished redone": 0, "epochs redone": max(redone(store)), "reason not said": max(0, unsaid)}
    figures("SIGKILL of workers", kills=kills, **found, **more)


def test_nodes_that_are_lost_and_come_back(tmp_path, figures, monkeypatch):
    from ray.cluster_utils import Cluster

    health = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    cycles = 3
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": health},
    )
    driver = None
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        store = ResultStore(tmp_path / "demo")
        driver = begin(tmp_path, *SWEEP[:-2], RAY_ADDRESS=cluster.address)
        lost, seen = 0, 0
        while lost < cycles and driver.poll() is None:
            if begun(store) < seen + (1 if lost else 2):
                time.sleep(0.1)
                continue
            time.sleep(0.5)
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            seen, lost = begun(store), lost + 1
            nodes.append(cluster.add_node(num_cpus=1))
        assert driver.wait(timeout=300) == 0, said(tmp_path)[-2000:]
        assert lost == cycles
        assert "Traceback" not in said(tmp_path)
        found = compared(store, tmp_path / "unbroken", 8)
        figures("loss of a node", kills=lost, **found, **{"finished redone": 0, "epochs redone": max(redone(store))})
    finally:
        if driver is not None and driver.poll() is None:
            driver.send_signal(signal.SIGKILL)
        cluster.shutdown()
