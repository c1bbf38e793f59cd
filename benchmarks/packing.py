"""K trials of one cell: packed, one after another, and in K processes at once; warm, in fp32, training only.

On a CPU K is 1 and 4 and all cores are used each way; where CUDA is, K goes up to 32 and all share the device.
"""

import os
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Outcome, Ratio, ratio_of
from benchmarks.trial import BATCH_SIZE, Case, case_of, pack_of, train, train_ours
from benchmarks.workers import Gate, Team

METHODS = ("full", "adapter", "lora")
STEPS, QUICK_STEPS, GPU_STEPS = 2, 2, 5
SIZES, GPU_SIZES = (1, 4), (1, 4, 8, 16, 32)
REPEATS, QUICK_REPEATS = 5, 2
WAYS = ("packed", "sequential", "processes")


def run(quick: bool, model: str = "minilm") -> Outcome:
    """Ratios such as ``minilm/lora/k4/processes``: trials an hour packed over those of the other way.

    ``model`` may be a folder.
    """
    gpu = torch.cuda.is_available()
    device, sizes, steps = ("cuda", GPU_SIZES, GPU_STEPS) if gpu else ("cpu", SIZES, STEPS)
    methods: tuple[str, ...] = METHODS
    repeats = REPEATS
    if quick:
        model, methods, repeats, sizes, steps = "tiny-bert", ("lora",), QUICK_REPEATS, SIZES, QUICK_STEPS
    ratios: dict[str, Ratio] = {}
    figures: dict[str, Any] = {
        "precision": "fp32",
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "steps": steps,
    }
    for method in methods:
        for size in sizes:
            key = f"{Path(model).name}/{method}/k{size}"
            seconds = _measure([_case(model, method, seed, steps) for seed in range(1, size + 1)], device, repeats)
            figures[f"{key}/seconds"] = seconds
            ratios |= {f"{key}/{way}": ratio_of(seconds["packed"], seconds[way]) for way in WAYS[1:]}
    return Outcome(ratios, figures)


def _case(model: str, method: str, seed: int, steps: int) -> Case:
    return case_of(model, "restaurant", method, rows=steps * BATCH_SIZE, seed=seed)


def _measure(cases: list[Case], device: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of an epoch of all ``cases`` by way, in the order A B C C B A."""
    cores = len(os.sched_getaffinity(0))
    with Team(1, cores) as packed, Team(1, cores) as alone, Team(len(cases), max(1, cores // len(cases))) as each:
        ways = dict(zip(WAYS, (packed, alone, each), strict=True))
        packed.hold(train_pack, [(cases, device)])
        alone.hold(train_one_after_another, [(cases, device)])
        each.hold(train_ours, [(case, device) for case in cases])
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for team in ways.values():
            team.turn()
        for repeat in range(repeats):
            for way in list(ways) if repeat % 2 == 0 else reversed(ways):
                seconds[way].append(ways[way].turn().seconds)
    return seconds


def train_pack(gate: Gate, cases: list[Case], device: str) -> None:
    """A worker's task: all ``cases`` as one pack, an epoch a turn."""
    pack = pack_of(cases, device)
    while gate.wait():
        gate.done(train(pack))


def train_one_after_another(gate: Gate, cases: list[Case], device: str) -> None:
    """A worker's task: an epoch of each of ``cases`` alone, a turn."""
    packs = [pack_of([case], device) for case in cases]
    while gate.wait():
        gate.done([train(pack)[0] for pack in packs])
