"""200 tiny trials in packs, by the command itself under Ray: what a trial costs beside training, and the driver's RAM.

Training and scoring of a pack is timed where it happens, in each trial's records. What else passes between the start of
the first epoch and the last trial's end, in each process that trains, is the cost of running so many trials: building
models, records, and Ray Tune. The command takes the GPUs that Ray finds, and two processes of one core each otherwise.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.support.harness import Outcome
from tunekit.runner.trainers import DeviceHostActor
from tunekit.store.result_store import ResultStore

METHODS = ("full", "adapter", "lora", "bitfit")
LOOK_SECONDS = 0.25
HOST = f"ray::{DeviceHostActor.__name__}"
"""How the title begins of a process that trains packs."""
MIB = 2**20


@dataclass
class Looks:
    """What was seen of a running command, at each look."""

    seconds: list[float] = field(default_factory=list)
    completed: list[int] = field(default_factory=list)
    """The number of trials with a summary."""
    driver_bytes: list[int] = field(default_factory=list)
    """The driver's resident memory."""
    hosts: int = 0
    """The largest number of processes that trained packs at once."""
    first_epoch: float | None = None
    """When an epoch was on record first."""
    first_trial: str = ""
    """The folder of the trial of that epoch."""


def run(quick: bool) -> Outcome:
    """Seconds a trial and an epoch, the share of the time that is training and scoring, and the driver's memory."""
    seeds, pack, epochs = (4, 2, 2) if quick else (50, 10, 3)
    with tempfile.TemporaryDirectory() as storage:
        words = [
            "run", "--models", "tiny-bert", "--datasets", "demo", "--methods", *METHODS, "--seeds", f"1-{seeds}",
            "--epochs", str(epochs), "--pack", str(pack), "--yes", "--sweep", "packs", "--storage", storage,
        ]  # fmt: skip
        looks = watch(words, Path(storage) / "packs")
        return Outcome(
            figures={"epochs": epochs, "trials of a pack": pack} | figures_of(Path(storage) / "packs", looks)
        )


def watch(words: list[str], sweep: Path) -> Looks:
    """Run ``tunekit`` with ``words`` and look at its sweep and its processes. Raises RuntimeError where it fails."""
    looks = Looks()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "tunekit", *words]
        driver = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        process = psutil.Process(driver.pid)
        while driver.poll() is None:
            try:
                names = [" ".join(child.cmdline()) for child in process.children(recursive=True)]
                resident = process.memory_info().rss
            except psutil.NoSuchProcess:  # one has ended between two lines
                continue
            looks.seconds.append(time.perf_counter())
            looks.completed.append(len(list(sweep.glob("trials/*/summary.json"))))
            looks.driver_bytes.append(resident)
            looks.hosts = max(looks.hosts, sum(name.startswith(HOST) for name in names))
            if looks.first_epoch is None and (found := next(sweep.glob("trials/*/epochs.jsonl"), None)):
                looks.first_epoch, looks.first_trial = looks.seconds[-1], found.parent.name
            time.sleep(LOOK_SECONDS)
        if driver.returncode:
            said.seek(0)
            raise RuntimeError(f"the command ended with {driver.returncode}: {said.read()[-2000:].decode()}")
    return looks


def figures_of(sweep: Path, looks: Looks) -> dict[str, Any]:
    """Return what the records of ``sweep`` and the ``looks`` at its command say."""
    trials = [trial for trial in ResultStore(sweep).trials()[0] if trial.summary is not None]
    # Each trial of a pack records the seconds of the whole pack.
    computing = sum(
        (epoch.epoch_seconds or 0.0) / int(trial.summary.execution["pack_size"] or 1)
        for trial in trials
        if trial.summary is not None
        for epoch in trial.epochs
    )
    assert looks.first_epoch is not None
    [of_first] = [trial.epochs[0].epoch_seconds for trial in trials if trial.folder.name == looks.first_trial]
    began = looks.first_epoch - (of_first or 0.0)
    ended = looks.seconds[looks.completed.index(max(looks.completed))]
    there = looks.hosts * (ended - began)
    epochs = sum(len(trial.epochs) for trial in trials)
    memory, completed = np.array(looks.driver_bytes) / MIB, np.array(looks.completed)
    half = memory[completed >= len(trials) / 2]
    return {
        "trials": len(trials),
        "processes that train": looks.hosts,
        "seconds from the command to the start of the first epoch": began - looks.seconds[0],
        "seconds from there to the last trial's end": ended - began,
        "seconds of training and scoring, in all processes": computing,
        "share of training and scoring": computing / there,
        "seconds beside training, a trial": (there - computing) / len(trials),
        "seconds beside training, an epoch of a trial": (there - computing) / epochs,
        "driver's MiB at the first epoch, at half of the trials and at the end": [
            float(memory[np.searchsorted(looks.seconds, looks.first_epoch)]), float(half[0]), float(memory[-1]),
        ],
        "driver's MiB at most": float(memory.max()),
    }  # fmt: skip
