"""A grid of 24 short trials from command to final table: ours against Trainer under Ray Tune, P0 and P1.

Every side starts as a process of its own in fresh storage, builds the same models and scores dev and test after each
epoch. The encoder is the small one of ``support/small.py``: what a short trial costs beside training is the question.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.support.harness import Outcome, ratio_of
from benchmarks.support.small import SMALL, write_encoder
from tunekit.store.result_store import ResultStore

ROOT = Path(__file__).resolve().parent.parent
DATASET = "acl_arc"
Scores = Mapping[str, Sequence[float]]
"""Last test macro-F1 of each trial, by method."""


@dataclass
class Grid:
    """What every side runs."""

    model: Path
    methods: Sequence[str]
    seeds: Sequence[int]
    rows: int
    epochs: int
    scores: dict[str, list[Scores]] = field(default_factory=dict)
    """Of each run, by side."""

    def axes(self) -> list[str]:
        """The flags that name methods and seeds, the same for every command."""
        return ["--methods", *self.methods, "--seeds", *map(str, self.seeds), "--epochs", str(self.epochs)]

    def ours(self) -> float:
        """Seconds of the grid's command."""
        with tempfile.TemporaryDirectory() as storage:
            named = ["--models", str(self.model), "--datasets", DATASET, "--train-limit", str(self.rows)]
            seconds = _timed(
                ["sweeps/main_grid.py", *named, *self.axes(), "--yes", "--sweep", "makespan", "--storage", storage]
            )
            found: dict[str, list[float]] = {method: [] for method in self.methods}
            for trial in ResultStore(Path(storage) / "makespan").trials()[0]:
                if trial.summary and (score := trial.summary.final_scores["test_macro_f1"]) is not None:
                    found[trial.spec.method].append(score)
        return self._kept("ours", found, seconds)

    def peer(self, name: str, cpus: int) -> float:
        """Seconds of a peer's command."""
        with tempfile.TemporaryDirectory() as storage:
            found = Path(storage) / "scores.json"
            named = ["--model", str(self.model), "--dataset", DATASET, "--rows", str(self.rows)]
            seconds = _timed(
                [
                    "-m", "benchmarks.support.peer_grid", "--peer", name, "--cpus", str(cpus), *named, *self.axes(),
                    "--storage", storage, "--json", str(found),
                ]
            )  # fmt: skip
            return self._kept(name, json.loads(found.read_text(encoding="utf-8"))["test_macro_f1"], seconds)

    def _kept(self, side: str, scores: Scores, seconds: float) -> float:
        planned = {method: len(self.seeds) for method in self.methods}
        if (done := {method: len(values) for method, values in scores.items()}) != planned:
            raise RuntimeError(f"{side} trained {done} trials, not {planned}; no ratio is given")
        self.scores.setdefault(side, []).append(scores)
        return seconds


def run(quick: bool) -> Outcome:
    """``makespan/p0`` and ``makespan/p1``, sides in turns; P1 with the better of one and two cores a trial."""
    with tempfile.TemporaryDirectory() as folder:
        write_encoder(small := Path(folder) / "small", SMALL)
        every = ("full", "adapter", "lora")
        grid = Grid(small, ("lora",), (1, 2), 64, 1) if quick else Grid(small, every, range(1, 9), 64, 1)
        cpus, pilot = 1, {}
        if not quick:
            short = Grid(small, every, (1, 2), grid.rows, grid.epochs)
            pilot = {cores: short.peer("p1", cores) for cores in (1, 2)}
            cpus = min(pilot, key=lambda cores: pilot[cores])
        sides: dict[str, Callable[[], float]] = {
            "ours": grid.ours,
            "p0": lambda: grid.peer("p0", 1),
            "p1": lambda: grid.peer("p1", cpus),
        }
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for repeat in range(1 if quick else 3):
            for side in list(sides) if repeat % 2 == 0 else reversed(sides):
                seconds[side].append(sides[side]())
    figures: dict[str, Any] = {
        "precision": "fp32",
        "trials": len(grid.methods) * len(grid.seeds),
        "rows": grid.rows,
        "epochs": grid.epochs,
        "seconds": seconds,
        "cores of a p1 trial": cpus,
        "seconds of 6 p1 trials by cores": pilot,
        "mean test macro-F1": {
            side: [{method: mean(values) for method, values in one.items()} for one in runs]
            for side, runs in grid.scores.items()
        },
    }
    return Outcome({f"makespan/{side}": ratio_of(seconds["ours"], seconds[side]) for side in ("p0", "p1")}, figures)


def _timed(arguments: Sequence[str]) -> float:
    """Seconds of one command. Raises RuntimeError with its last lines where it fails."""
    start = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.perf_counter() - start
    if ran.returncode:
        raise RuntimeError(f"{' '.join(arguments[:4])} ended with {ran.returncode}:\n{ran.stdout[-2000:]}")
    return seconds
