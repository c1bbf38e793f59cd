"""What every benchmark shares: timing in turns, ratios with intervals, and the JSON file that keeps them."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunekit.errors import UserError
from tunekit.planning.provenance import source, versions

DRAWS = 10_000
SAME = {
    "name": "benchmark", "hardware": "machine", "versions": "set of versions", "commit": "commit",
    "dirty": "state of the source",
}  # fmt: skip
"""What results of one record have in common, by key, as a message calls it."""
OF_SPEED = ("triton", "accelerate")
"""Packages whose versions move a speed, beside those that can move a number."""


@dataclass(frozen=True)
class Ratio:
    """How many times as fast, or as good, one side is: the median of paired repeats and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """What a benchmark found."""

    ratios: Mapping[str, Ratio] = field(default_factory=dict)
    """Ratios by key, such as ``load/experiment_analysis``. Above 1, tunekit is better."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What the ratios are made of: the seconds of each repeat, sizes, scores."""


Benchmark = Callable[[bool], Outcome]
"""A benchmark takes whether to be quick (small sizes, to see that it runs) and returns what it found."""


def interleaved(ours: Callable[[], float], peer: Callable[[], float], repeats: int) -> tuple[list[float], list[float]]:
    """Return the seconds of both sides, repeat by repeat.

    The sides are timed in the order A B B A A B ..., so that a machine that slows down slows both.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for which in (0, 1) if repeat % 2 == 0 else (1, 0):
            times[which].append((ours, peer)[which]())
    return times


def ratio_of(ours: Sequence[float], peer: Sequence[float], seed: int = 0) -> Ratio:
    """Return the peer's numbers over ours: the median over repeats and its 95 % bootstrap interval."""
    each = np.asarray(peer) / np.asarray(ours)
    draws = np.random.default_rng(seed).choice(each, (DRAWS, len(each)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return Ratio(float(np.median(each)), float(low), float(high))


def record(name: str, outcome: Outcome) -> dict[str, Any]:
    """Return the JSON object of one run of the benchmark ``name``."""
    return {
        "name": name,
        "hardware": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "system": platform.system(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {**versions(), **{name: _version(name) for name in OF_SPEED}, "cuda": torch.version.cuda},
        "commit": source()["commit"],
        "dirty": source()["dirty"],
        "source_hash": source()["source_hash"],
        "ratios": {key: asdict(ratio) for key, ratio in outcome.ratios.items()},
        "figures": dict(outcome.figures),
    }


def read_record(path: Path, same: Mapping[str, Any]) -> Outcome:
    """Return what the record at ``path`` holds, which new results are added to; nothing where there is none.

    ``same`` is a record of the same benchmark on this machine and code. Raises UserError where the file holds another
    one's, which would be lost, or is no such file.
    """
    if not path.exists():
        return Outcome()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        others = [what for key, what in SAME.items() if content[key] != same[key]]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is no record of a benchmark; give --json another file") from error
    if others:
        raise UserError(f"{path} has results of another {' and '.join(others)}; give --json another file, or remove it")
    ratios = {key: Ratio(**ratio) for key, ratio in content["ratios"].items()}
    return Outcome(ratios, content["figures"])


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` to ``path`` as JSON. Raises OSError, and ValueError where a number is not finite."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Return the name that the processor gives itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
