"""What this machine has to train on: processor cores, their speed, and whether there is a GPU. Imports no torch."""

import os
import time
from pathlib import Path


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_accelerator() -> bool:
    """Whether this machine shows an NVIDIA GPU, without importing torch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def free_bytes() -> int:
    """Return the bytes of memory that this machine has free."""
    import psutil

    return int(psutil.virtual_memory().available)


def cpu_flops_per_second() -> float:
    """Return the rate of a float32 matrix product on all cores, measured for about a fifth of a second."""
    import numpy as np

    size = 1024
    a = np.ones((size, size), np.float32)
    a @ a
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.2:
        a @ a
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - start)
