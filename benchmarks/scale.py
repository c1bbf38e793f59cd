"""What grows with the number of trials: the driver's memory, its time a trial, planning, resuming, status, reading.

5,000 empty trials (``support/empty.py``) through the grid's own path, the store on disk. Then stores of its first
trials are read by what the commands call.
"""

import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from benchmarks.support.empty import Timed, run_empty, specs_of, sweep_of
from benchmarks.support.harness import Outcome
from tunekit.commands.costs import costs, describe_costs
from tunekit.commands.how_long import timer_of
from tunekit.commands.training import claim_folders
from tunekit.planning.plan import PlanState, describe, plan_sweep
from tunekit.schema import TrialSpec
from tunekit.store.progress import ProgressReader
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore

EPOCHS, CORES, WINDOW = 3, 2, 500
MIB = 2**20


def run(quick: bool) -> Outcome:
    """Milliseconds a trial and driver's MiB along a run, and seconds of planning by the size of the store."""
    total, sizes = (60, [20, 60]) if quick else (5_000, [1_000, 2_500, 5_000])
    with tempfile.TemporaryDirectory() as folder:
        root, specs = Path(folder) / "sweep", specs_of(total, EPOCHS)
        store = ResultStore(root)
        store.root.mkdir()
        store.add_request({"cells": cells_of(specs)})
        process = psutil.Process()
        ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            watched = run_empty(specs, root, lambda: process.memory_info().rss)
        finally:
            ray.shutdown()
        figures: dict[str, Any] = {"trials": total, "epochs a trial": EPOCHS}
        figures |= along(watched, 10 if quick else WINDOW)
        figures["bytes on disk a trial"] = disk_of(root, total)
        figures["seconds, and the processor's, by trials in the store"] = {
            size: reading(root, Path(folder) / str(size), size) for size in sizes
        }
    return Outcome(figures=figures)


def along(watched: Timed, window: int) -> dict[str, Any]:
    """Pace and memory in windows of trials, and their slopes over all but the first window."""
    ends, memory = np.array(watched.ends), np.array(watched.measured) / MIB
    marks = range(window, len(ends) + 1, window)
    pace = [float(1000 * (ends[mark - 1] - ends[mark - window]) / (window - 1)) for mark in marks]
    late = np.arange(window, len(ends))
    slope = np.polyfit(late, memory[late], 1)[0]
    return {
        "window": window,
        "ms a trial": pace,
        "ms a trial, whole run": 1000 * (ends[-1] - ends[0]) / (len(ends) - 1),
        "driver MiB": [float(memory[mark - 1]) for mark in marks],
        "driver KiB a further trial": float(1024 * slope),
    }


def disk_of(root: Path, num_trials: int) -> dict[str, float]:
    """Bytes a trial of the store and of Tune's own folder."""
    sizes = {}
    for part in ("trials", "ray"):
        found = subprocess.run(["du", "-sb", root / part], capture_output=True, text=True, check=True).stdout
        sizes[part] = int(found.split()[0]) / num_trials
    states = list((root / "ray").rglob("experiment_state-*.json"))
    return sizes | {"Tune's state, rewritten as it runs": sum(path.stat().st_size for path in states) / num_trials}


def reading(root: Path, part: Path, size: int) -> dict[str, list[float]]:
    """Seconds of ``WORK`` on the first ``size`` trials of the store, all and then half of them done."""
    (part / "trials").mkdir(parents=True)
    store, specs = ResultStore(part), specs_of(size, EPOCHS)
    for spec in specs:
        name = ResultStore(root).folder(spec).name
        shutil.copytree(root / "trials" / name, part / "trials" / name)
    store.add_request({"cells": cells_of(specs)})
    found = {name: timed(name, store, specs) for name in WORK}
    for spec in specs[::2]:
        shutil.rmtree(part / "trials" / store.folder(spec).name)
    return found | {f"{name}, half done": timed(name, store, specs) for name in ("dry run", "resume")}


def timed(name: str, store: ResultStore, specs: Sequence[TrialSpec]) -> list[float]:
    """Seconds of one of ``WORK``, and those of the processor, on specs that know no ids yet, as in a new process."""
    fresh = [replace(spec) for spec in specs]
    start, busy = time.perf_counter(), time.process_time()
    WORK[name](store, fresh)
    return [time.perf_counter() - start, time.process_time() - busy]


def dry_run(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """The plan, told, with what each cell costs."""
    sweep = sweep_of(specs)
    plan = plan_sweep(sweep, store)
    pending = plan.pending(retry_failed=False)
    describe(sweep, plan, pending)
    describe_costs(costs(sweep, timer_of(sweep, plan.stored, None), gpu=True), pending)


def resume(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """What a run does before it hands the first trial to Ray: the plan, told, made again under the lease, settled."""
    sweep = sweep_of(specs)
    plan = plan_sweep(sweep, store)
    describe(sweep, plan, plan.pending(retry_failed=False))
    plan = plan_sweep(sweep, store, write_cache=True, previous=plan)
    claim_folders(plan, store)
    if plan.count(PlanState.DONE) == 0:
        raise RuntimeError("nothing in the store was found; no time is given")


WORK: dict[str, Callable[[ResultStore, Sequence[TrialSpec]], object]] = {
    "plan, no cache": lambda store, specs: plan_sweep(sweep_of(specs), store),
    "dry run, no cache": dry_run,
    "status": lambda store, specs: ProgressReader(store.root).read(),
    "resume, no cache": resume,
    "plan": lambda store, specs: plan_sweep(sweep_of(specs), store),
    "dry run": dry_run,
    "resume": resume,
}
"""By what it is; in this order, for the first resume leaves the cache."""
