"""The records of one or more sweeps: the trials that count, the requests, and what is left out and why."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.names import plain
from analysis.predictions import TEXT, WHOLE, read_columns
from analysis.requested import requested
from tunekit.errors import UserError
from tunekit.parsing import strict_json
from tunekit.storage.paths import Place, location
from tunekit.store.existing import no_sweep
from tunekit.store.records import DamagedRecord, read_text
from tunekit.store.result_store import ResultStore
from tunekit.store.search_records import SearchStudy
from tunekit.tasks import task_of

Progress = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class DatasetFacts:
    """The facts on a dataset from its copy in a sweep."""

    name: str
    display_name: str
    label_names: tuple[str, ...]
    content_hash: str
    note: str = ""
    """A note on it in tables, such as on its test part; empty where there is none."""
    occurring: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The labels that the items of each split have; empty where they were not read."""

    def absent(self, split: str) -> tuple[str, ...]:
        """Return the names of the classes that no item of ``split`` has; empty where that is not known."""
        there = self.occurring.get(split)
        return () if there is None else tuple(name for n, name in enumerate(self.label_names) if n not in there)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "DatasetFacts":
        """Return the facts of a stored description. Raises KeyError or TypeError where one is missing or mistyped."""
        name, shown, digest = (plain(content[key]) for key in ("name", "display_name", "content_hash"))
        return cls(name, shown, tuple(map(plain, content["label_names"])), digest, plain(content.get("note", "")))


@dataclass(frozen=True)
class Problem:
    """Something that is left out, or whose numbers are doubtful."""

    kind: str
    """The kind of the problem. Problems of one kind are counted together."""
    detail: str
    """The place of the problem, and what to do about it."""


@dataclass(frozen=True)
class SweepRecords:
    """Everything that the sweeps hold, each trial once."""

    stores: tuple[ResultStore, ...]
    trials: pd.DataFrame
    """The trials that count: ``Frames.trials`` with the columns ``sweep`` and ``path``, the trial's folder."""
    epochs: pd.DataFrame
    """The epochs of these trials: ``Frames.epochs`` with the column ``path``, and a column for each further score of
    imported trials, such as ``test_spearman``, in place of ``scores``."""
    expected: Mapping[str, tuple[int, ...]]
    """The seeds that the requests of all sweeps ask for, by cell."""
    datasets: Mapping[str, DatasetFacts]
    names: Mapping[str, Mapping[str, str]]
    """Display names by plain name, under the keys ``model``, ``method`` and ``dataset``."""
    default_rates: Mapping[str, float]
    """The learning rate that each method takes where none is given, as far as the requests say."""
    metric_names: Mapping[str, Mapping[str, str]]
    """By cell, the names that an imported experiment has for its metrics."""
    later_seeds: tuple[str, ...]
    """One line for each request that added seeds to cells of an earlier request."""
    searches: tuple[SearchStudy, ...]
    """The studies of the searches, with what each tried and chose."""
    problems: tuple[Problem, ...]

    def display_name(self, kind: str, name: str) -> str:
        """Return the display name of the ``model``, ``method`` or ``dataset`` (``kind``) called ``name``.

        The name itself is returned where no display name is known.
        """
        return self.names[kind].get(name, name)


def read_sweeps(
    roots: Sequence[str | os.PathLike[str] | Place],
    elsewhere_cache: Path | None = None,
    progress: Progress = iter,
    names: Mapping[str, str] = MappingProxyType({}),
) -> SweepRecords:
    """Return the records of the sweeps at ``roots``.

    ``elsewhere_cache`` is a folder for the cache of read-only sweeps, so that the next reading is faster; other sweeps
    hold their own cache. ``progress`` wraps the names of the folders that are read. ``names`` are display names of
    models, methods and datasets that take precedence over those on record.

    Raises UserError where no sweep is given, where a folder holds no sweep, and where its sweep.json is damaged.
    """
    if not roots:
        raise UserError("no sweep is given; give the folder of a sweep, such as ray_results/demo")
    stores = tuple(ResultStore(root) for root in dict.fromkeys(location(root).resolve() for root in roots))
    all_trials: list[pd.DataFrame] = []
    all_epochs: list[pd.DataFrame] = []
    problems = []
    requests: list[tuple[str, Mapping[str, Any]]] = []
    for store in stores:
        if not store.trials_folder.is_dir():
            raise no_sweep(store.root, "trials folder")
        cache = _cache_folder(store, elsewhere_cache)
        frames = store.frames(cache, progress)
        before, _, behind = str(store.trials_folder / "\0").partition("\0")
        for parts, frame in ((all_trials, frames.trials), (all_epochs, frames.epochs)):
            paths = before + frame["folder"]
            frame["path"] = paths + behind if behind else paths
            parts.append(frame)
        frames.trials["sweep"] = store.root.name
        requests_of_store = store.requests(cache)
        requests += [(store.root.name, request) for request in requests_of_store]
        problems += [Problem("damaged trial left out", line) for line in frames.damaged]
        problems += [
            Problem("folder without a spec.json left out", f"{store.trials_folder / name}") for name in frames.unrelated
        ]
        problems += _left_out_at_import(store.root.name, requests_of_store)
    trials, epochs = (pd.concat(parts, ignore_index=True) for parts in (all_trials, all_epochs))
    epochs = _with_further_scores(epochs)
    # A sweep has one folder for each spec, so that nothing of one sweep alone can be there twice.
    alone = len(stores) == 1 and bool(trials["own"].all())
    counted, uncounted = (trials, []) if alone else _counted_trials(trials)
    if len(counted) < len(trials):
        epochs = epochs[epochs["path"].isin(set(counted["path"]))]
    datasets, doubtful = _datasets(stores)
    searches, broken = _searches(stores)
    asked = requested(requests)
    known_names = {**asked.names, "dataset": {name: facts.display_name for name, facts in datasets.items()}}
    return SweepRecords(
        stores=stores,
        trials=counted,
        epochs=epochs,
        expected=asked.seeds,
        datasets=datasets,
        names={kind: {**known, **names} for kind, known in known_names.items()},
        default_rates=asked.default_rates,
        metric_names=asked.metric_names,
        later_seeds=asked.later_seeds,
        searches=searches,
        problems=tuple([*problems, *uncounted, *doubtful, *broken]),
    )


def _with_further_scores(epochs: pd.DataFrame) -> pd.DataFrame:
    """Return ``epochs`` with a column for each further score in place of the column ``scores``."""
    texts = epochs.pop("scores")
    if not texts.notna().any():
        return epochs
    rows = [json.loads(text) if isinstance(text, str) else {} for text in texts]
    return pd.concat([epochs, pd.DataFrame(rows, index=epochs.index, dtype="float64")], axis=1)


def _left_out_at_import(sweep: str, requests: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Return a problem for each reason for which the newest import of a sweep left trials out."""
    lines = requests[-1].get("left_out") if requests else None
    kind = "reason for which the import left trials out"
    return [Problem(kind, f"{sweep}: {plain(line)}") for line in lines] if isinstance(lines, list) else []


def _cache_folder(store: ResultStore, elsewhere: Path | None) -> Path | None:
    """Return the folder of the cache: the store's own, or a folder in ``elsewhere`` where the store is read-only.

    None is returned for a read-only store without ``elsewhere``. The cache of an object store lies on this machine.
    """
    own = store.cache_folder
    if not isinstance(store.root, Path) or os.access(own if own.exists() else store.root, os.W_OK):
        return own
    return None if elsewhere is None else elsewhere / store.root.name


def _counted_trials(trials: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the trials that count, each once, and a problem for each trial that does not."""
    problems = [
        Problem("stale trial left out", f"{path}: other code, data or weights than its spec's newest run")
        for path in trials["path"][~trials["own"]]
    ]
    own = trials[trials["own"]].reset_index(drop=True)
    # A finished trial comes before an unfinished one; otherwise the order of the given sweeps decides.
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
            try:
                facts = replace(facts, occurring=_occurring(path)) if task_of(facts.name).form == "class" else facts
            except DamagedRecord as error:
                problems.append(Problem("damaged copy of a dataset", f"{error}; run the sweep again to write it anew"))
            if facts.name in found and found[facts.name].content_hash != facts.content_hash:
                problems.append(Problem("dataset of two contents", f"{path}: {facts.name} differs between the sweeps"))
            found.setdefault(facts.name, facts)
    return found, problems


def _occurring(description: Place) -> dict[str, frozenset[int]]:
    """Return the labels that occur in each split of a dataset's copy; empty where the sweep keeps no rows of it.

    Raises DamagedRecord where the rows can't be read.
    """
    path = description.with_suffix(".parquet")
    if not path.exists():
        return {}
    rows = read_columns(path, {"split": TEXT, "label": WHOLE}, ["split", "label"]).drop_duplicates()
    return {str(split): frozenset(part["label"].tolist()) for split, part in rows.groupby("split")}
