"""The commands of "Two machines and a folder" in docs/cluster.md, on loopback: two Rays, a cache each, and a sweep."""

import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tunekit.schema import Status
from tunekit.store.result_store import ResultStore

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
SECTION = re.search(
    r"^## Two machines and a folder\n(.*?)^## ", (ROOT / "docs" / "cluster.md").read_text(), re.S | re.M
)
CELLS = ["--models", "tiny-bert", "--datasets", "demo", "--methods", "full", "lora", "--seeds", "1", "--epochs", "2"]
ON_ONE_HOST = [
    "--block",
    "--num-cpus=1",
    "--dashboard-agent-listen-port=0",
    "--min-worker-port=0",
    "--max-worker-port=0",
]
"""Flags that two machines do without: each would have the ports to itself."""
STARTED = "Ray runtime started."
"""What `ray start` says once its machine is in the cluster, which a run counts when it starts."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def starts(port: int) -> list[list[str]]:
    """The words of each `ray start` of the page, the first machine being this one."""
    text = SECTION[1].replace("10.0.0.1:6379", f"127.0.0.1:{port}").replace("10.0.0.1", "127.0.0.1")
    lines = re.findall(r"^ray start .*", text.replace("--port=6379", f"--port={port}"), re.M)
    return [[*shlex.split(line), "--node-ip-address=127.0.0.1", *ON_ONE_HOST] for line in lines]


@pytest.fixture
def machines(tmp_path, monkeypatch) -> Iterator[str]:
    """The address of the first of two machines."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    port = free_port()
    first, second = starts(port)
    first += ["--include-dashboard=false", f"--ray-client-server-port={free_port()}"]
    first += ["--object-store-memory=100000000", f"--temp-dir=/tmp/ray-{port}"]  # sockets need a short path
    second += ["--object-store-memory=100000000"]
    started = []
    for name, (program, *words) in (("first", first), ("second", second)):
        environment = {**os.environ, "TUNEKIT_CACHE_DIR": str(tmp_path / name), "PYTHONPATH": str(ROOT)}
        # tunekit.runner, which another test of this process may have imported, keeps a Ray of its own to one machine.
        environment.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
        environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"  # no trial runs when the test ends the machines
        command = [Path(sys.executable).with_name(program), *words]
        with (tmp_path / f"{name}.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        assert has_started(tmp_path / f"{name}.log", started[-1]), (tmp_path / f"{name}.log").read_text()
    yield f"127.0.0.1:{port}"
    for process in reversed(started):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def has_started(log: Path, process: subprocess.Popen) -> bool:
    """Wait until a machine is in the cluster; False where its process ends before."""
    while process.poll() is None:
        if STARTED in log.read_text():
            return True
        time.sleep(0.1)
    return False


def test_the_page_has_one_start_for_each_machine_and_both_ask_for_a_token():
    first, second = starts(1)
    assert "--head" in first
    assert "--head" not in second
    assert SECTION[1].count("export RAY_AUTH_MODE=token") == 2


def test_a_sweep_runs_on_both_machines(machines, tmp_path):
    command = [sys.executable, "-m", "tunekit", "run", *CELLS, "--train-limit", "48", "--sweep", "two"]
    run = subprocess.run(
        [*command, "--storage", str(tmp_path / "shared")], env={**os.environ, "RAY_ADDRESS": machines},
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    trials, damaged = ResultStore(tmp_path / "shared" / "two").trials()
    assert not damaged
    assert [trial.summary.status for trial in trials] == [Status.COMPLETED] * 2
    for name in ("first", "second"):
        assert any((tmp_path / name).rglob("*.npz")), f"the {name} machine trained nothing"
