"""Processor seconds from the command to the first epoch on record: six tiny trials, two at a time, nothing cached.

A busy machine changes these seconds little, unlike the time that passes. They are those of every process that the
command has started, up to the moment at which the first epoch is on record: the driver, the processes that train, and
Ray's own.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

SWEEP = ("--models", "tiny-bert", "--methods", "full", "adapter", "lora", "--datasets", "demo", "--seeds", "1", "2")
LOOK_SECONDS = 0.05


def measure(repeats: int) -> dict[str, list[float]]:
    """Return the seconds of ``repeats`` runs: those of the driver, of training processes, of Ray, and of all."""
    runs = [_run() for _ in range(repeats)]
    return {name: [run[name] for run in runs] for name in runs[0]}


def _run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        driver = subprocess.Popen(
            [sys.executable, "-m", "tunekit", "run", *SWEEP, "--sweep", "tiny", "--storage", folder],
            env={**environment, "TUNEKIT_CACHE_DIR": str(Path(folder) / "cache")},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not list(Path(folder).glob("tiny/trials/*/epochs.jsonl")):
                if driver.poll() is not None:
                    raise RuntimeError(f"the command ended with {driver.returncode} before its first epoch")
                time.sleep(LOOK_SECONDS)
            found = dict.fromkeys(("driver", "training", "Ray"), 0.0)
            for role, seconds in _processes(driver.pid):
                found[role] += seconds
        finally:
            driver.send_signal(signal.SIGINT)
            driver.wait()
    return {**found, "all": sum(found.values())}


def _processes(pid: int) -> Iterator[tuple[str, float]]:
    """Yield the role and the processor seconds of a driver and of each process that it has started."""
    driver = psutil.Process(pid)
    for process in (driver, *driver.children(recursive=True)):
        try:
            title, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        yield ("driver" if process == driver else role_of(title)), times.user + times.system


def role_of(title: str) -> str:
    """Return whether a process, by its title, trains or is one of Ray's own."""
    return "training" if title.startswith("ray::") and not title.endswith("Agent") else "Ray"
