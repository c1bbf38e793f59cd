"""Processor seconds of the commands that train nothing: help, a typo, a sweep's progress, a dry run.

Each command runs in a process of its own, as a user starts it; the seconds are those of all its threads, so that a busy
machine changes them little. The data is registered: no file of a user's own is read. A dry run without a GPU probes how
fast the processor is; the probe is measured by itself and is not in the dry run's seconds.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.support.empty import specs_of
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

TUNEKIT = ("-m", "tunekit")
IMPORT = ("-c", "from tunekit.planning import machine; import numpy")
PROBE = ("-c", "from tunekit.planning import machine; machine.cpu_flops_per_second()")
BAD_INPUT = 2


def commands(sweep: Path) -> dict[str, tuple[tuple[str, ...], int]]:
    """Return the arguments and the exit code of each command; ``sweep`` is a sweep that has been requested."""
    cells = ("--models", "tiny-bert", "--methods", "full", "adapter", "lora")
    dry_run = ("run", "--preset", "demo", *cells, "--dry-run", "--storage", str(sweep.parent))
    return {
        "--help": ((*TUNEKIT, "--help"), 0),
        "a typo": ((*TUNEKIT, "statsu"), BAD_INPUT),
        "status": ((*TUNEKIT, "status", str(sweep)), 0),
        "run --dry-run": ((*TUNEKIT, *dry_run), 0),
    }


def processor_seconds(arguments: Sequence[str], exit_code: int = 0) -> float:
    """Return the user and system seconds of a new Python process. Raises RuntimeError where it ends otherwise."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode != exit_code:
        raise RuntimeError(f"{' '.join(arguments)} ended with {run.returncode}: {run.stderr[-500:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(repeats: int, seconds_of: Callable[[Sequence[str], int], float] = processor_seconds) -> dict[str, Any]:
    """Return the seconds of each command, repeat by repeat, and the median of what the probe adds to a dry run."""
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(Path(folder) / "asked")
        store.root.mkdir()
        store.add_request({"cells": cells_of(specs_of(num_trials=30, epochs=10))})
        asked = commands(Path(folder) / "asked")
        found = {name: [seconds_of(*one) for _ in range(repeats)] for name, one in asked.items()}
    probe = max(0.0, median(seconds_of(PROBE, 0) - seconds_of(IMPORT, 0) for _ in range(repeats)))
    found["run --dry-run"] = [seconds - probe for seconds in found["run --dry-run"]]
    return {**found, "the probe of the processor, which is not in the dry run": probe}
