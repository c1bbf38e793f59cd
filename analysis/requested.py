"""The cells and seeds that the requests in sweep.json ask for, and their names and default learning rates."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.names import NAMES, plain
from tunekit.parsing import how_many

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""The JSON text by which a trial's record names its cell. One encoder for all cells is faster than ``json.dumps``."""
Requests = Sequence[tuple[str, Mapping[str, Any]]]
"""Requests in the order in which they were made, each with the name of its sweep."""


@dataclass(frozen=True)
class Requested:
    """The content of the requests of all sweeps."""

    seeds: Mapping[str, tuple[int, ...]]
    """The seeds that are asked for, by cell."""
    metric_names: Mapping[str, Mapping[str, str]]
    """By cell, the names that an imported experiment has for its metrics."""
    later_seeds: tuple[str, ...]
    """A line for each request that added seeds to cells of an earlier request."""
    names: Mapping[str, Mapping[str, str]]
    """Display names by plain name, under the keys ``model`` and ``method``."""
    default_rates: Mapping[str, float]
    """The learning rate that each method takes where none is given; requests of older versions say none."""


def requested(requests: Requests) -> Requested:
    """Return the content of ``requests``. A later request's names replace those of an earlier one."""
    expected: dict[str, list[int]] = {}
    metric_names: dict[str, Mapping[str, str]] = {}
    later = []
    for sweep, request in requests:
        added: dict[tuple[int, ...], int] = {}
        for cell in request.get("cells", []):
            fields = {name: value for name, value in cell.items() if name not in ("seeds", "imported")}
            key = _canonical(fields)
            if "metric_names" in request:
                metric_names[key] = request["metric_names"]
            seeds = expected.setdefault(key, [])
            new = tuple(seed for seed in cell["seeds"] if seed not in seeds)
            if seeds and new:
                added[new] = added.get(new, 0) + 1
            seeds.extend(new)
        when = str(request.get("time", "at an unknown time"))
        for seeds_added, count in added.items():
            listed = " ".join(map(str, seeds_added))
            which, were = ("seed", "was") if len(seeds_added) == 1 else ("seeds", "were")
            cells = how_many(count, "cell")
            later.append(f"{sweep}: {which} {listed} of {cells} {were} asked for on {when}, after the first ones")
    sorted_seeds = {key: tuple(sorted(seeds)) for key, seeds in expected.items()}
    return Requested(sorted_seeds, metric_names, tuple(later), _display_names(requests), _default_rates(requests))


def _display_names(requests: Requests) -> dict[str, dict[str, str]]:
    """Return the display names of models and methods.

    Requests of older versions have no ``display_names``. The usual names are taken for them.
    """
    found: dict[str, dict[str, str]] = {"model": dict(NAMES), "method": dict(NAMES)}
    for _, request in requests:
        stored = request.get("display_names")
        for kind, names in found.items():
            of_kind = stored.get(f"{kind}s") if isinstance(stored, dict) else None
            names |= {name: plain(shown) for name, shown in of_kind.items()} if isinstance(of_kind, dict) else {}
    return found


def _default_rates(requests: Requests) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, request in requests:
        stored = request.get("default_learning_rates")
        if isinstance(stored, dict):
            found |= {name: float(rate) for name, rate in stored.items() if isinstance(rate, int | float)}
    return found
