"""K trials of one cell on a CPU: packed, one after another, and in K processes at once; warm, in fp32, training only.

All cores are used each way. ``benchmarks.gpu`` compares packs on a GPU.
"""

import os
from pathlib import Path
from typing import Any

from benchmarks.support.harness import Outcome, Ratio, ratio_of
from benchmarks.support.trial import BATCH_SIZE, Case, case_of, pack_of, train, train_ours, train_pack
from benchmarks.support.workers import Gate, Team

METHODS, QUICK_METHODS = ("full", "adapter", "lora"), ("lora",)
STEPS = 2
SIZES = (1, 4)
REPEATS, QUICK_REPEATS = 5, 2
WAYS = ("packed", "sequential", "processes")


def run(quick: bool, model: str = "minilm") -> Outcome:
    """Ratios such as ``minilm/lora/k4/processes``: trials an hour packed over those of the other way.

    ``model`` may be a folder.
    """
    if quick:
        model = "tiny-bert"
    ratios: dict[str, Ratio] = {}
    figures: dict[str, Any] = {"precision": "fp32", "steps": STEPS}
    for method in QUICK_METHODS if quick else METHODS:
        for size in SIZES:
            key = f"{Path(model).name}/{method}/k{size}"
            cases = [_case(model, method, seed) for seed in range(1, size + 1)]
            seconds = _measure(cases, QUICK_REPEATS if quick else REPEATS)
            figures[f"{key}/seconds"] = seconds
            ratios |= {f"{key}/{way}": ratio_of(seconds["packed"], seconds[way]) for way in WAYS[1:]}
    return Outcome(ratios, figures)


def _case(model: str, method: str, seed: int) -> Case:
    return case_of(model, "restaurant", method, rows=STEPS * BATCH_SIZE, seed=seed)


def _measure(cases: list[Case], repeats: int) -> dict[str, list[float]]:
    """Seconds of an epoch of all ``cases`` by way, in the order A B C C B A."""
    cores = len(os.sched_getaffinity(0))
    with Team(1, cores) as packed, Team(1, cores) as alone, Team(len(cases), max(1, cores // len(cases))) as each:
        ways = dict(zip(WAYS, (packed, alone, each), strict=True))
        packed.hold(train_pack, [(cases,)])
        alone.hold(train_one_after_another, [(cases,)])
        each.hold(train_ours, [(case,) for case in cases])
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for team in ways.values():
            team.turn()
        for repeat in range(repeats):
            for way in list(ways) if repeat % 2 == 0 else reversed(ways):
                seconds[way].append(ways[way].turn().seconds)
    return seconds


def train_one_after_another(gate: Gate, cases: list[Case]) -> None:
    """A worker's task: an epoch of each of ``cases`` alone, a turn."""
    packs = [pack_of([case]) for case in cases]
    while gate.wait():
        gate.done([train(pack)[0] for pack in packs])
