"""Workers, hosts and nodes that die while a driver runs: their trials go on from their checkpoints, and it is said."""

import random
import time

import psutil
import pytest

from tests.support.drivers import (
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
    wait_for,
    workers,
)
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]
KILLS, CYCLES, EPOCHS = 20, 5, 16
EVERY = 20
"""Trials of the soak that complete between two kills."""
SWEEP = (
    *GRID, "--methods", "adapter", "lora", "--seeds", "1", "2", "3", "4",
    "--epochs", str(EPOCHS), "--train-limit", "96",
)  # fmt: skip
HEALTH = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


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
    return {"tracebacks": 0, "epochs redone": max(redone(store), default=0), **found}


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


@pytest.mark.timeout(1800)
def test_a_soak_of_three_hundred_trials_and_a_kill_every_twenty_trials(tmp_path, figures):
    store, draw, ended, memory, kills = ResultStore(tmp_path / "demo"), random.Random(1), {}, [], 0
    seeds = [str(seed) for seed in range(1, 101)]
    sweep = [*GRID, "--methods", "full", "adapter", "lora", "--seeds", *seeds, "--epochs", "3", "--train-limit", "192"]
    driver = begin(tmp_path, *sweep, "--max-concurrent", "2", fault=TITLED)
    wait_for(lambda: len(summaries(store)) >= EVERY, driver)
    while driver.poll() is None:
        ended = summaries(store) | ended
        if EVERY <= len(ended) < 300:  # the closing table imports pandas
            memory.append((len(ended), resident(driver.pid)))
        alive = workers(driver)
        if alive and len(ended) >= EVERY * (kills + 1):  # however fast the machine is
            kill(draw.choice(alive))
            kills += 1
        time.sleep(0.5)
    found = figures_of(driver, store, ended)
    trials, damaged = store.trials()
    assert not damaged
    assert {(trial.summary.status, len(trial.epochs)) for trial in trials} == {(Status.COMPLETED, 3)}
    assert len(trials) == 300
    assert kills >= 300 // EVERY - 1
    (first, before), (last, after) = memory[0], memory[-1]
    growth = after / before - 1
    # Flat it is not: Tune keeps 36 KiB a trial that trains nothing (docs/scale.md).
    assert growth < 0.1, f"the driver grew by {growth:.1%}"
    figures(
        f"soak: SIGKILL of a worker every {EVERY} trials",
        kills=kills,
        missing=0,
        **found,
        **{"driver grew, KiB a trial": round((after - before) / (last - first) / 1024)},
    )


def resident(pid):
    """Resident bytes of a process; 0 of one that has ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def test_a_host_killed_with_its_pack(tmp_path, figures):
    store, ended, kills = ResultStore(tmp_path / "demo"), {}, 0
    driver = begin(tmp_path, *SWEEP, "--pack", "2", fault=TITLED)
    for wanted in (20, 60):
        wait_for(lambda wanted=wanted: recorded(store) >= wanted, driver)
        ended = summaries(store) | ended
        for pid in workers(driver, "DeviceHost"):
            kill(pid)
            kills += 1
    found = figures_of(driver, store, ended)
    assert {(trial.summary.status, len(trial.epochs)) for trial in store.trials()[0]} == {(Status.COMPLETED, EPOCHS)}
    assert kills >= 2
    figures("SIGKILL of the hosts of packs", kills=kills, missing=0, **found)


def test_nodes_that_are_lost_and_come_back(tmp_path, figures):
    from ray.cluster_utils import Cluster

    store, ended, lost, seen = ResultStore(tmp_path / "demo"), {}, 0, 0
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH},
    )
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        driver = begin(tmp_path, *SWEEP, RAY_ADDRESS=cluster.address)
        while lost < CYCLES and driver.poll() is None:
            ended = summaries(store) | ended
            if begun(store) < seen + (1 if lost else 2):
                time.sleep(0.1)
                continue
            wanted = recorded(store) + 3
            while recorded(store) < wanted and driver.poll() is None:
                time.sleep(0.02)
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            seen, lost = begun(store), lost + 1
            nodes.append(cluster.add_node(num_cpus=1))
        found = figures_of(driver, store, ended)
        assert lost == CYCLES
        figures("loss of a node", kills=lost, **found, **compared(store, tmp_path / "unbroken", 8))
    finally:
        cluster.shutdown()
