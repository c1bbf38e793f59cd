"""The hardware of this machine: processor cores, their speed, and its GPUs. Imports no torch."""

import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path

PROBES, PROBE_SECONDS = 6, 0.03
"""The number of probes of the processor, and the seconds of each."""


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine, as its driver describes it."""

    name: str
    memory: int
    """Bytes of memory."""


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_accelerator() -> bool:
    """Return whether this machine has the device file of an NVIDIA GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def free_bytes() -> int:
    """Return the bytes of memory that this machine has free."""
    import psutil

    return int(psutil.virtual_memory().available)


def gpus() -> list[Gpu]:
    """Return the GPUs of this machine as ``nvidia-smi`` lists them; none where it is not there or fails."""
    import subprocess

    question = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    try:
        run = subprocess.run(("nvidia-smi", *question), capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.rpartition(",") for line in run.stdout.splitlines())
    return [Gpu(name.strip(), int(memory) * 2**20) for name, _, memory in rows if memory.strip().isdigit()]


@functools.cache
def cpu_flops_per_second() -> float:
    """Return the operations a second of a float32 matrix product on one core, by the processor time of its thread.

    It is the best of some short probes, which a process makes once. Time in which other processes have the core does
    not count, so that a busy machine gives the rate that it has when it is idle. The probe has one thread: on a busy
    machine several threads would wait for each other, and waiting takes processor time.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    size = 512
    a = np.ones((size, size), np.float32)
    rates = []
    with threadpool_limits(1):
        a @ a
        for _ in range(PROBES):
            start, count = time.thread_time(), 0
            while (taken := time.thread_time() - start) < PROBE_SECONDS:
                a @ a
                count += 1
            rates.append(count * 2 * size**3 / taken)
    return max(rates)
