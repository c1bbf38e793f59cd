"""deploy/slurm.sh as one job on two nodes, with SLURM's commands and ray replaced by scripts that note their calls."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "deploy" / "slurm.sh"


@pytest.fixture
def slurm(tmp_path):
    """Start the script; its calls lie in the file that is returned beside the process."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    calls.touch()
    (tmp_path / "tree").mkdir()  # without the environment that the job would activate
    scripts = {
        "srun": f'echo "srun $*" >> {calls}\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"',
        "scontrol": f'echo "scontrol $*" >> {calls}\nif [[ $1 == show ]]; then echo here; echo there; fi',
        "ray": f'echo "ray $* mode=$RAY_AUTH_MODE token=${{#RAY_AUTH_TOKEN}}" >> {calls}\n'
        "if [[ $1 == start ]]; then exec sleep 60; fi",
        "hostname": "echo 127.0.0.1",
        "python": f'exec {shlex.quote(sys.executable)} "$@"',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here,there",
        "SLURM_CPUS_PER_TASK": "2", "SLURM_SUBMIT_DIR": str(tmp_path / "tree"), "USER": "me",
        "STORAGE": str(tmp_path / "results"),
    }  # fmt: skip

    def start(*arguments: str, **more: str) -> tuple[subprocess.Popen, Path]:
        command = [SCRIPT, *arguments]
        process = subprocess.Popen(command, env=environment | more, stdout=subprocess.PIPE, text=True)
        return process, calls

    return start


@pytest.mark.slow
def test_the_slurm_job_starts_head_and_workers_with_a_token_and_runs_the_sweep(slurm):
    process, calls = slurm("--preset", "demo", "--dry-run", "--json")
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert json.loads(out)["total"] == 6
    lines = calls.read_text().splitlines()
    noted = [line for line in lines if line.startswith("ray start")]
    assert len(noted) == 2
    assert all("mode=token token=64" in line and "--num-cpus=2 --num-gpus=0" in line for line in noted)
    head = next(line for line in noted if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in head
    assert "requeue" not in calls.read_text()
    steps = [line for line in lines if line.startswith("srun")]
    assert len(steps) == 2
    assert all("--cpus-per-task=2" in line for line in steps)
    ports = re.findall(r"--(?:port|dashboard-port|ray-client-server-port)=(\d+)", head)
    assert len(set(ports)) == 3
    with socket.create_server(("127.0.0.1", int(ports[0]))):  # it was free
        pass
    for line in noted:  # else a second Ray on the node would take the same
        assert "--dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0" in line


@pytest.mark.slow
def test_the_slurm_job_hands_on_sigterm_and_is_queued_again_on_75(slurm, tmp_path):
    sweep = tmp_path / "sweep.py"
    sweep.write_text(
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n    time.sleep(0.5)\n    sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
        "time.sleep(60)\n"
    )
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/usr/bin/env bash\n[[ $1 == -m ]] && set -- {sweep}\nexec {sys.executable} "$@"\n')
    process, calls = slurm()
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert "scontrol requeue 7" in calls.read_text()
