"""``tunekit import``: a plain Ray Tune experiment as a store that everything here reads.

What the experiment did not record stays null. An iteration counts as an epoch.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.foreign.ray_experiment import ForeignTrial, finite, read_experiment
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.schema import EpochRecord, Scalar, Status, TrialSummary
from tunekit.store.records import UNKNOWN, ImportedSpec
from tunekit.store.result_store import ResultStore

NAMES = ("model", "dataset", "method")
REQUIRED = (*NAMES, "seed", "metric")
SCORES = {"metric": "macro_f1", "accuracy": "accuracy", "micro_f1": "micro_f1", "loss": "loss"}
"""The score of the split that each mapped name becomes; ``metric`` takes the place of macro-F1."""
KNOWN = (*REQUIRED, "accuracy", "micro_f1", "loss", "train_loss")
_RESERVED = {"method_params", *(item.name for item in fields(ImportedSpec))}


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    num_trials: int
    num_cells: int
    notes: tuple[str, ...]
    """One line for each thing that was left out or is doubtful."""


@dataclass(frozen=True)
class Source:
    """Where a value comes from: a key of the experiment, or the same text for all trials."""

    key: str
    constant: str | None = None


def parse_map(texts: Iterable[str]) -> dict[str, Source]:
    """Return the sources that ``NAME=KEY`` or, for model, dataset and method, ``NAME:=TEXT`` name.

    Raises UserError on anything else.
    """
    found: dict[str, Source] = {}
    for text in texts:
        name, equals, key = text.partition("=")
        constant = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not key:
            raise UserError(f"--map takes NAME=KEY, as in seed=config/seed, or NAME:=TEXT; got {text!r}")
        if name not in KNOWN:
            hint = did_you_mean(name, KNOWN)
            raise UserError(f"--map {text}: there is no {name!r} to map{hint} (there are {', '.join(KNOWN)})")
        if name in found:
            raise UserError(f"--map names {name} twice")
        if constant and name not in NAMES:
            raise UserError(f"--map {text}: only {', '.join(NAMES)} can be one text for all trials")
        if name in (*NAMES, "seed"):
            key = key if constant else key.removeprefix("config/")  # as Ray's own result frames call it
        found[name] = Source("", key) if constant else Source(key)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise UserError(f"--map lacks {', '.join(missing)}; a name without a key of its own is given as NAME:=TEXT")
    return found


def import_experiment(folder: Path, mapping: Mapping[str, Source], split: str, percent: bool, out: Path) -> Imported:
    """Write the experiment at ``folder`` as a store at ``out``; again is safe. ``split`` is test or val.

    Raises UserError where keys are missing, scores are no scores, or ``out`` is a sweep of another kind.
    """
    trials = read_experiment(folder)
    store = ResultStore(out)
    requests = store.requests()
    if any("imported_from" not in request for request in requests) or (store.trials_folder.is_dir() and not requests):
        raise UserError(f"{out} holds a sweep that was not imported; give another folder with --out")
    planned = max((max(trial.rows) for trial in trials if trial.rows), default=0)
    if not planned:
        raise UserError(f"{folder}: no trial reported a result; there is nothing to import")
    _check_metrics(trials, mapping, percent)
    specs = [(_spec(trial, mapping, planned), trial) for trial in trials]
    kept, notes = _each_once(specs)
    for spec, trial in kept:
        records, lost = _records(trial, mapping, split, 100 if percent else 1)
        notes += [f"{trial.name}: iteration {number} is missing from its results" for number in lost]
        notes += [f"a row can't be read: {line}" for line in trial.torn]
        place = store.open_trial(spec, UNKNOWN)
        store.write_epochs(place, records)
        summary = _summary(trial, records, planned, mapping["metric"].key, split, folder.resolve().name)
        if summary is not None:
            store.write_summary(place, summary)
    cells = _cells([spec for spec, _ in kept])
    store.add_request(
        {
            "imported_from": folder.resolve().name,
            "map": {name: asdict(source) for name, source in mapping.items()},
            "versions": {"tunekit": version("tunekit")},
            "metric_names": {"macro_f1": mapping["metric"].key},
            "cells": cells,
        }
    )
    return Imported(len(kept), len(cells), tuple(notes))


def _check_metrics(trials: Sequence[ForeignTrial], mapping: Mapping[str, Source], percent: bool) -> None:
    """Every mapped result is reported by some trial, and scores are scores."""
    there = {key: None for trial in trials for row in trial.rows.values() for key in row}
    for name in ("metric", "accuracy", "micro_f1", "loss", "train_loss"):
        if name not in mapping:
            continue
        key = mapping[name].key
        if key not in there:
            raise UserError(f"no trial reported {key!r}{_among(key, [one for one in there if 'config/' not in one])}")
        if name in ("loss", "train_loss"):
            continue
        values = [finite(row.get(key)) for trial in trials for row in trial.rows.values()]
        numbers = [value for value in values if value is not None]
        top = 100 if percent else 1
        if not numbers:
            raise UserError(f"{key!r} is nowhere a finite number; map {name} to another key")
        if min(numbers) < 0 or max(numbers) > top:
            hint = "" if percent or max(numbers) > 100 or min(numbers) < 0 else "; add --percent if it is in percent"
            raise UserError(
                f"{key!r} lies between {min(numbers):g} and {max(numbers):g}, and a score lies in [0, {top}]{hint}"
            )


def _spec(trial: ForeignTrial, mapping: Mapping[str, Source], planned: int) -> ImportedSpec:
    def value(name: str) -> Any:
        source = mapping[name]
        if source.constant is not None:
            return source.constant
        if trial.params.get(source.key) is None:
            raise UserError(f"{trial.name}: its params.json has no {source.key!r}{_among(source.key, trial.params)}")
        return trial.params[source.key]

    seed = value("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(f"{trial.name}: {mapping['seed'].key} is {seed!r}, and a seed is a whole number from 0")
    try:
        return _made(trial, mapping, planned, seed, value)
    except ValueError as error:
        raise UserError(f"{trial.name}: {error}") from error


def _made(
    trial: ForeignTrial, mapping: Mapping[str, Source], planned: int, seed: int, value: Callable[[str], Any]
) -> ImportedSpec:
    mapped = {mapping[name].key for name in (*NAMES, "seed")}
    return ImportedSpec(
        model=_text(value("model")),
        dataset=_text(value("dataset")),
        method=_text(value("method")),
        seed=seed,
        settings={
            f"config/{key}" if key in _RESERVED else key: _scalar(one)
            for key, one in trial.params.items()
            if key not in mapped and one is not None
        },
        epochs=planned,
    )


def _records(
    trial: ForeignTrial, mapping: Mapping[str, Source], split: str, scale: int
) -> tuple[list[EpochRecord], list[int]]:
    """Return one record an iteration, and the iterations that are missing: their records hold null."""
    empty: dict[str, Any] = {item.name: None for item in fields(EpochRecord)}
    records, best = [], None
    last = max(trial.rows, default=0)
    for number in range(1, last + 1):
        row = trial.rows.get(number, {})
        values = {**empty, "epoch": number, "epoch_seconds": finite(row.get("time_this_iter_s"))}
        for name, field in SCORES.items():
            found = finite(row.get(mapping[name].key)) if name in mapping else None
            values[f"{split}_{field}"] = found if found is None or name == "loss" else found / scale
        if "train_loss" in mapping:
            values["train_loss"] = finite(row.get(mapping["train_loss"].key))
        if split == "val":
            best = max((one for one in (best, values["val_macro_f1"]) if one is not None), default=None)
            values["best_val_macro_f1"] = best
        records.append(EpochRecord(**values))
    return records, [number for number in range(1, last) if number not in trial.rows]


def _summary(
    trial: ForeignTrial, records: Sequence[EpochRecord], planned: int, key: str, split: str, experiment: str
) -> TrialSummary | None:
    """Return how the trial ended; None where it still runs or was interrupted, as far as its files tell."""
    last = asdict(records[-1]) if records else {}
    if len(records) == planned:
        broken = last[f"{split}_macro_f1"] is None
        status = Status.DIVERGED if broken else Status.COMPLETED
        error = f"{key} is no finite number at the last iteration" if broken else None
    elif trial.error is not None:
        status, error = Status.FAILED, trial.error
    elif records:
        status, error = Status.STOPPED, f"ended after {len(records)} of the experiment's {planned} iterations"
    else:
        return None
    scores = [(record.val_macro_f1, -record.epoch) for record in records if record.val_macro_f1 is not None]
    best = -max(scores)[1] if scores else None
    seconds = [record.epoch_seconds for record in records if record.epoch_seconds is not None]

    def scored(record: EpochRecord) -> dict[str, float | None]:
        return {name: value for name, value in asdict(record).items() if name.startswith(("val_", "test_"))}

    return TrialSummary(
        status=status,
        num_epochs=len(records),
        best_epoch=best,
        final_scores=scored(records[-1]) if records else {},
        best_scores=scored(records[best - 1]) if best else None,
        train_scores=None,
        num_trainable_params=None,
        num_total_params=None,
        train_seconds=sum(seconds) if len(seconds) == len(records) and records else None,
        peak_memory_bytes=None,
        error=error,
        execution={},
        provenance={"imported_from": experiment, "trial": trial.name},
    )


def _each_once(
    specs: Sequence[tuple[ImportedSpec, ForeignTrial]],
) -> tuple[list[tuple[ImportedSpec, ForeignTrial]], list[str]]:
    """Return the longest of the trials with the same settings and seed, and a line for each that is left out."""
    kept: dict[str, tuple[ImportedSpec, ForeignTrial]] = {}
    notes = []
    for spec, trial in sorted(specs, key=lambda pair: -len(pair[1].rows)):
        first = kept.setdefault(spec.trial_id, (spec, trial))[1]
        if first is not trial:
            notes.append(
                f"{trial.name} is left out: {first.name} has the same settings and seed; if they are repeats, map "
                "seed to a key that tells them apart"
            )
    return list(kept.values()), notes


def _cells(specs: Sequence[ImportedSpec]) -> list[dict[str, Any]]:
    """Return the cells of ``specs`` with their seeds, as a request of ``sweep.json`` lists them."""
    seeds: dict[str, list[int]] = {}
    for spec in specs:
        seeds.setdefault(spec.cell, []).append(spec.seed)
    return [{**json.loads(cell), "seeds": sorted(found), "imported": True} for cell, found in seeds.items()]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _scalar(value: Any) -> Scalar:
    """Return lists, and numbers that JSON can't hold, as text."""
    if isinstance(value, str | bool | int) or finite(value) is not None:
        return value  # type: ignore[no-any-return]
    return json.dumps(value, sort_keys=True)


def _among(key: str, keys: Iterable[str]) -> str:
    known = list(keys)
    nested = [one for one in known if one.endswith(f"/{key}")]
    hint = f", did you mean {nested[0]!r}?" if nested else did_you_mean(key, known)
    return f"{hint} (it has {', '.join(known[:40])})"
