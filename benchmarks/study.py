"""The study's shape on one small encoder, trained for real and without Ray: a pack a cell, three packs at a time.

MiniLM x 3 datasets x 3 methods x 5 seeds x 10 epochs: 45 trials, on a GPU where there is one. The store stays in
``ray_results/study-minilm``, one like any other: the same command goes on, ``python -m analysis`` reads it.
"""

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.harness import Outcome
from tunekit.commands.training import request_of
from tunekit.engine.job import Job
from tunekit.planning.args import GridArgs
from tunekit.planning.blocks import Block
from tunekit.planning.plan import PlanState, plan_sweep
from tunekit.planning.resolve import ResolvedSweep, resolve_blocks
from tunekit.storage.lease import acquire
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore
from tunekit.worker.attempt import Attempt
from tunekit.worker.pack_trainer import PackTrainer

STUDY = Block(
    models=("minilm",),
    datasets=("agnews_7k6", "restaurant", "acl_arc"),
    methods=("full", "adapter", "lora"),
    seeds=(1, 2, 3, 4, 5),
)
QUICK = Block(
    models=("tiny-bert",), datasets=("demo",), methods=("adapter", "lora"), seeds=(1, 2), epochs=2, train_limit=64
)
PACKS = 3
"""Processes that share the device: what one waits for its own Python, the others use."""


def run(quick: bool, model: str = "minilm", storage: Path = Path("ray_results")) -> Outcome:
    """Seconds of what was missing in the store. Raises RuntimeError where a trial did not complete.

    ``model`` may be a folder.
    """
    block = QUICK if quick else replace(STUDY, models=(model,))
    [name] = block.models
    sweep = resolve_blocks(GridArgs(), [block], f"study-{'quick' if quick else Path(name).name}", None)
    store = ResultStore(storage.resolve() / sweep.name)
    lease = acquire(store.root)
    store.add_request({**request_of(sweep), "cells": cells_of(sweep.specs)})
    gpu = torch.cuda.is_available()
    packs = jobs_by_cell(sweep, store, lease.start, "cuda" if gpu else "cpu")
    processes, started = min(PACKS, len(os.sched_getaffinity(0))), time.perf_counter()
    try:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(train, packs))
    finally:
        lease.release()
    seconds = time.perf_counter() - started
    plan = plan_sweep(sweep, store)
    if plan.count(PlanState.DONE) != len(plan.trials):
        raise RuntimeError(f"{plan.count(PlanState.DONE)} of {len(plan.trials)} trials completed, see {store.root}")
    trained = sum(map(len, packs))
    figures = {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "precision": "fp32",
        "packs at a time": processes,
        "trials": trained,
        "seconds": seconds,
    }
    return Outcome(figures=figures)


def jobs_by_cell(sweep: ResolvedSweep, store: ResultStore, start: int, device: str) -> list[list[Job]]:
    """Return the jobs of what is missing in ``store``, those of a cell together; ``start`` is the lease's number."""
    cells: dict[str, list[Job]] = defaultdict(list)
    for trial in plan_sweep(sweep, store).pending(retry_failed=False):
        ref = sweep.models[trial.spec.model]
        cells[trial.spec.cell].append(Job(trial.spec, trial.fingerprint, ref, store.root, start, 1, device))
    return list(cells.values())


def train(jobs: Sequence[Job]) -> None:
    """Train ``jobs`` to their end, side by side in this process."""
    pack_trainer = PackTrainer(len(jobs))
    attempts = [Attempt(job) for job in jobs]
    while going := [one for one in attempts if one.status is None]:
        for error in filter(None, pack_trainer.advance(going).values()):
            raise error
