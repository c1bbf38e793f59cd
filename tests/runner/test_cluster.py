"""Clusters of several nodes on this machine: joined by RAY_ADDRESS, with nodes that come late or are not fit."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.runs import plain_lines
from tunekit.runner import nodes
from tunekit.runner.nodes import Driver
from tunekit.schema import Status
from tunekit.storage.paths import location
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
GRID = ["--preset", "demo", "--models", "tiny-bert", "--methods", "full", "adapter", "lora", "--seeds", "1", "2"]


@contextmanager
def cluster():
    """A head that trains nothing, and a function that adds a node; each node has a cache of its own."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})

    def add(cache: Path, **variables: str) -> None:
        variables |= {"TUNEKIT_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
        found.add_node(wait=False, num_cpus=1, env_vars=variables)

    try:
        yield found.address, add
    finally:
        found.shutdown()


def begin(address: str, storage: Path, *arguments: object) -> subprocess.Popen:
    """The grid's command in a process of its own, joining the cluster at ``address``."""
    command = [sys.executable, ROOT / "sweeps" / "main_grid.py", *GRID, *map(str, arguments), "--storage", storage]
    environment = {**os.environ, "RAY_ADDRESS": address}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=storage.parent
    )


def until(process: subprocess.Popen, event: str) -> list[dict]:
    """The events that the process tells on standard error, up to the first ``event``."""
    seen = []
    for line in process.stderr:
        if line.startswith("{"):
            seen.append(json.loads(line))
            if seen[-1]["event"] == event:
                return seen
    raise AssertionError(f"no {event!r} event: {seen}")


def used(cache: Path) -> bool:
    """Whether a trial prepared its data on the node of ``cache``."""
    return any(cache.rglob("*.npz"))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_grid_on_three_nodes_of_which_one_joins_late(tmp_path):
    first, late = tmp_path / "first", tmp_path / "late"
    with cluster() as (address, add):
        process = begin(address, tmp_path / "out", "--epochs", 16)
        add(first)
        until(process, "epoch")
        add(late)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Macro-F1 (percent, test, last epoch)" in out
    trials, damaged = ResultStore(tmp_path / "out" / "demo").trials()
    assert not damaged
    assert [trial.summary.status for trial in trials] == [Status.COMPLETED] * 6
    assert used(first)
    assert used(late)
    assert not list((tmp_path / "out" / "demo" / "starts").glob("*.probe"))


def test_a_node_with_other_packages_is_refused_before_anything_trains(tmp_path):
    other = tmp_path / "site" / "peft-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.0.1\n")
    with cluster() as (address, add):
        process = begin(address, tmp_path / "out", "--epochs", 1)
        add(tmp_path / "cache", PYTHONPATH=str(other.parent))
        _, err = process.communicate()
    [err] = plain_lines(err)
    assert process.returncode == 2
    assert "other versions can move numbers: peft 0.0.1 (driver: 0.2" in err
    assert err.startswith("error: node ")
    assert ResultStore(tmp_path / "out" / "demo").trials() == ([], [])


@pytest.fixture
def driver(tmp_path):
    probe = tmp_path / "results" / "demo" / "starts" / "1.probe"
    probe.parent.mkdir(parents=True)
    probe.write_text("token")
    return Driver(tmp_path / "results", probe, "token", nodes.source_hash(), tuple(nodes.versions().items()))


def test_what_a_node_compares(driver):
    assert nodes._difference(driver) is None
    driver.probe.write_text("another driver's, on a disk of this node's own")
    assert f"does not see the driver's storage {driver.storage}" in nodes._difference(driver)
    driver.probe.unlink()
    assert "on NFS" in nodes._difference(driver)


def test_a_node_that_cant_read_the_object_store(driver, bucket):
    storage = location(bucket) / "sweeps"
    driver = replace(driver, storage=storage, probe=storage / "demo" / "starts" / "1.probe")
    assert f"can't read the driver's storage {storage} (No such file" in nodes._difference(driver)
    driver.probe.write_bytes(b"token")
    assert nodes._difference(driver) is None
