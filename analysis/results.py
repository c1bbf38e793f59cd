"""Stores -> one study: the trials that count, what was asked for, and every reason why something is left out."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.names import NAMES
from tunekit.errors import UserError
from tunekit.parsing import CONTROL, strict_json
from tunekit.storage.paths import Place, location
from tunekit.store.records import DamagedRecord, read_text
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import SearchStudy

Progress = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class DatasetFacts:
    """What a sweep's copy of a dataset says of it."""

    name: str
    display_name: str
    label_names: tuple[str, ...]
    content_hash: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "DatasetFacts":
        """The facts of a stored description. Raises KeyError or TypeError where one is missing or of another kind."""
        name, shown, digest = (_plain(content[key]) for key in ("name", "display_name", "content_hash"))
        return cls(name, shown, tuple(map(_plain, content["label_names"])), digest)


def _plain(name: object) -> str:
    """``name`` as text that can't steer a terminal."""
    return CONTROL.sub(" ", str(name))


@dataclass(frozen=True)
class Problem:
    """Something that is left out or doubtful."""

    kind: str
    """What it is, for counting."""
    detail: str
    """Where, and what to do."""


@dataclass(frozen=True)
class Study:
    """All that the stores hold and nothing twice."""

    stores: tuple[ResultStore, ...]
    trials: pd.DataFrame
    """``Frames.trials`` of the trials that count, with the columns ``sweep`` and ``path``, the trial's folder."""
    epochs: pd.DataFrame
    """Their epochs, with ``path``."""
    expected: Mapping[str, tuple[int, ...]]
    """Seeds asked for, by cell: the union of all requests."""
    datasets: Mapping[str, DatasetFacts]
    names: Mapping[str, str]
    """Of models, methods and datasets, for people."""
    metric_names: Mapping[str, Mapping[str, str]]
    """By cell, an imported experiment's own names of metrics."""
    later_seeds: tuple[str, ...]
    """One line for each request that added seeds to cells already asked for."""
    searches: tuple[SearchStudy, ...]
    """What each search tried and chose, of all sweeps that are searches."""
    problems: tuple[Problem, ...]


def load(
    roots: Sequence[str | os.PathLike[str] | Place],
    cache: Path | None = None,
    progress: Progress = iter,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Study:
    """Read the sweeps at ``roots``; ``cache`` holds what was read of stores that are read-only. ``names`` are those of
    models, methods and datasets that stand before the usual ones.

    Raises UserError where a folder holds no sweep or its sweep.json is damaged.
    """
    stores = tuple(ResultStore(root) for root in dict.fromkeys(location(root).resolve() for root in roots))
    all_trials: list[pd.DataFrame] = []
    all_epochs: list[pd.DataFrame] = []
    problems = []
    requests: list[tuple[str, Mapping[str, Any]]] = []
    for store in stores:
        if not store.trials_folder.is_dir():
            raise UserError(f"{store.root} holds no sweep (no trials folder); give a sweep's folder, ray_results/NAME")
        frames = store.frames(_cache_folder(store, cache), progress)
        before, _, behind = str(store.trials_folder / "\0").partition("\0")
        for parts, frame in ((all_trials, frames.trials), (all_epochs, frames.epochs)):
            frame["path"] = before + frame["folder"] + behind
            parts.append(frame)
        frames.trials["sweep"] = store.root.name
        requests += [(store.root.name, request) for request in store.requests()]
        problems += [Problem("damaged trial left out", line) for line in frames.damaged]
        problems += [
            Problem("folder without a spec.json left out", f"{store.trials_folder / name}") for name in frames.unrelated
        ]
    trials, epochs = (pd.concat(parts, ignore_index=True) for parts in (all_trials, all_epochs))
    kept, more = _kept(trials)
    if len(kept) < len(trials):
        epochs = epochs[epochs["path"].isin(set(kept["path"]))]
    found, doubtful = _datasets(stores)
    searches, broken = _searches(stores)
    asked = _asked(requests)
    return Study(
        stores=stores,
        trials=kept,
        epochs=epochs,
        expected=asked.seeds,
        datasets=found,
        names={**NAMES, **{name: facts.display_name for name, facts in found.items()}, **names},
        metric_names=asked.metric_names,
        later_seeds=tuple(asked.later),
        searches=searches,
        problems=tuple([*problems, *more, *doubtful, *broken]),
    )


def _cache_folder(store: ResultStore, elsewhere: Path | None) -> Path | None:
    """The store's own cache, this machine's for an object store, a folder under ``elsewhere`` for a read-only one."""
    own = store.cache_folder
    if not isinstance(store.root, Path) or os.access(own if own.exists() else store.root, os.W_OK):
        return own
    return None if elsewhere is None else elsewhere / store.root.name


def _kept(trials: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """Trials that count, each once."""
    problems = [
        Problem("stale trial left out", f"{path}: other code, data or weights than its spec's newest run")
        for path in trials["path"][~trials["own"]]
    ]
    own = trials[trials["own"]].reset_index(drop=True)
    # A finished trial before an unfinished one, then in the order of the sweeps given.
    ordered = own["status"].isna().to_numpy().argsort(kind="stable")
    keys = list(zip(*(own[name].to_numpy(object) for name in ("cell", "fingerprint", "seed")), strict=True))
    first = {keys[place]: place for place in reversed(ordered)}
    again = [place for place in ordered if first[keys[place]] != place]
    for path in own["path"].to_numpy(object)[again]:
        problems.append(Problem("trial that is in two sweeps counted once", f"{path} is left out"))
    return own.drop(index=again).reset_index(drop=True) if again else own, problems


def _searches(stores: Sequence[ResultStore]) -> tuple[tuple[SearchStudy, ...], list[Problem]]:
    found: list[SearchStudy] = []
    problems = []
    for store in stores:
        try:
            search = store.search()
        except DamagedRecord as error:
            problems.append(
                Problem("damaged search.json left out", f"{error}; run the search again, which writes it anew")
            )
            continue
        found += search.studies if search else ()
    return tuple(found), problems


def _datasets(stores: Sequence[ResultStore]) -> tuple[dict[str, DatasetFacts], list[Problem]]:
    found: dict[str, DatasetFacts] = {}
    problems = []
    for store in stores:
        for path in store.dataset_descriptions():
            try:
                facts = DatasetFacts.of(strict_json(read_text(path)))
            except (OSError, ValueError, KeyError, TypeError) as error:
                problems.append(Problem("damaged description of a dataset", f"{path}: {error}"))
                continue
            if facts.name in found and found[facts.name].content_hash != facts.content_hash:
                problems.append(Problem("dataset of two contents", f"{path}: {facts.name} differs between the sweeps"))
            found.setdefault(facts.name, facts)
    return found, problems


@dataclass(frozen=True)
class _Asked:
    """What the requests of all sweeps say, by cell."""

    seeds: dict[str, tuple[int, ...]]
    metric_names: dict[str, Mapping[str, str]]
    later: list[str]
    """A line for each request that added seeds to a cell asked for before."""


def _asked(requests: Sequence[tuple[str, Mapping[str, Any]]]) -> _Asked:
    expected: dict[str, list[int]] = {}
    names: dict[str, Mapping[str, str]] = {}
    later = []
    for sweep, request in requests:
        added: dict[tuple[int, ...], int] = {}
        for cell in request.get("cells", []):
            fields = {name: value for name, value in cell.items() if name not in ("seeds", "imported")}
            key = json.dumps(fields, sort_keys=True, separators=(",", ":"))
            if "metric_names" in request:
                names[key] = request["metric_names"]
            seeds = expected.setdefault(key, [])
            new = tuple(seed for seed in cell["seeds"] if seed not in seeds)
            if seeds and new:
                added[new] = added.get(new, 0) + 1
            seeds.extend(new)
        when = str(request.get("time", "at an unknown time"))
        for seeds_added, count in added.items():
            listed = " ".join(map(str, seeds_added))
            later.append(f"{sweep}: seeds {listed} of {count} cells were asked for on {when}, after the first ones")
    return _Asked({key: tuple(sorted(seeds)) for key, seeds in expected.items()}, names, later)
