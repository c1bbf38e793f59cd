"""``tunekit import``: the trials of another program as a store that all of tunekit reads.

A value that the experiment did not record stays null. Nothing is unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.foreign.assembly import assembled
from analysis.foreign.ending import Ending, Kept, ending_of, longest_rows, summary_of
from analysis.foreign.kinds import read
from analysis.foreign.mapping import NAMES, Meaning, Source, is_setting, resolve, value_of
from analysis.foreign.scores import Scale, check_range, curve_of, main_metric, metric_names
from analysis.foreign.trial import Experiment, ForeignTrial
from analysis.foreign.values import NULL, canonical, mixed_kinds
from tunekit.errors import UserError
from tunekit.parsing import how_many
from tunekit.schema import Scalar, Status
from tunekit.store.records import UNKNOWN, ImportedSpec
from tunekit.store.result_store import ResultStore

SHOWN = 5
"""The most names of trials on one line."""


@dataclass(frozen=True)
class Imported:
    """The result of an import."""

    num_trials: int
    num_cells: int
    meaning: tuple[str, ...]
    """Lines that say what was found and which meaning its keys were given."""
    counts: tuple[str, ...]
    """One line for each state of trials with its reason, and for each reason to leave trials out."""
    notes: tuple[str, ...]
    """One line for each thing that is lost or doubtful."""


@dataclass
class _Sorted:
    """The trials of an experiment, sorted into those that count and those that are left out."""

    kept: dict[str, Kept] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """The names of the trials that are left out, by reason."""


def import_experiment(
    place: Path,
    mapping: Mapping[str, Source],
    out: Path,
    *,
    kind: str | None = None,
    ignored: Sequence[str] = (),
    percent: bool = False,
) -> Imported:
    """Write the experiment at ``place`` as a store at ``out``; a second call with the same arguments is safe.

    ``kind`` is one of ``analysis.foreign.trial.Kind``; None finds it. ``ignored`` are patterns of keys that are no
    settings. ``percent`` is whether scores are in [0, 100]. Raises UserError where keys are missing, scores are no
    scores, or ``out`` is a sweep of another kind or another import.
    """
    store = ResultStore(out)
    found = read(place, kind)
    scale = Scale(100 if percent else 1)
    meaning = resolve(found, mapping, scale.top)
    experiment, meaning = assembled(found, meaning, ignored)
    check_range(experiment, meaning, scale)
    request: dict[str, Any] = {
        "imported_from": place.resolve().name,
        "kind": experiment.kind.value,
        "map": {name: str(source) for name, source in mapping.items()},
        "ignore": list(ignored),
        "percent": percent,
    }
    _check_store(store, request)
    trials = _sorted(experiment, meaning, ignored, scale)
    if not trials.kept:
        reasons = "; ".join(f"{_names(names)}: {reason}" for reason, names in trials.left_out.items())
        raise UserError(f"{place} holds no trial that can be imported ({reasons})")
    lines, notes = _counts(trials), _notes(experiment, meaning, trials)
    for one in trials.kept.values():
        folder = store.open_trial(one.spec, UNKNOWN)
        store.write_epochs(folder, one.curve.epochs)
        if one.summary is not None:
            store.write_summary(folder, one.summary)
    cells = _cells([one.spec for one in trials.kept.values()])
    left_out = [line for line in lines if line.startswith(_LEFT_OUT)]
    store.add_request(
        {
            **request,
            "versions": {"tunekit": version("tunekit")},
            "metric_names": metric_names(meaning),
            "left_out": left_out,
            "cells": cells,
        }
    )
    about = _about(place, experiment, meaning, ignored)
    return Imported(len(trials.kept), len(cells), tuple(about), tuple(lines), tuple(notes))


def _check_store(store: ResultStore, request: Mapping[str, Any]) -> None:
    """Raise UserError where the store is no import, or an import with other arguments."""
    requests = store.requests()
    if any("imported_from" not in one for one in requests) or (store.trials_folder.is_dir() and not requests):
        raise UserError(f"{store.root} holds a sweep that was not imported; give another folder with --out")
    for before in requests:
        differing = [name for name in request if before.get(name) != request[name]]
        if differing:
            raise UserError(
                f"{store.root} holds an import of {before['imported_from']} with another "
                f"{' and '.join(differing)}; its trials would be mixed with these: give another "
                "folder with --out, or delete it"
            )


def _sorted(experiment: Experiment, meaning: Meaning, ignored: Sequence[str], scale: Scale) -> _Sorted:
    """Return the trials with their specs, records and endings.

    Of several trials with the same settings and seed, one that completed counts, then the longest, then the first.
    """
    trials, ready = _Sorted(), []
    longest = longest_rows(experiment)
    for trial in experiment.trials:
        missing = [name for name in (*NAMES, "seed") if value_of(trial, meaning.sources[name]) in (None, "")]
        if missing:
            trials.left_out.setdefault(f"no {' and no '.join(missing)}", []).append(trial.name)
            continue
        spec = _spec(trial, meaning, experiment, ignored)
        curve = curve_of(trial, meaning, scale)
        ending = ending_of(trial, curve, longest)
        if ending is None:
            trials.left_out.setdefault(f"completed without a score ({trial.reason})", []).append(trial.name)
            continue
        ready.append(Kept(trial, spec, curve, ending, summary_of(trial, curve, ending, meaning, experiment)))
    for one in sorted(ready, key=lambda kept: (kept.ending.status is not Status.COMPLETED, -len(kept.curve.epochs))):
        first = trials.kept.setdefault(one.spec.trial_id, one)
        if first is not one:
            reason = (
                "the same settings and seed as another trial; if they are repeats, map seed to a key that tells them "
                "apart"
            )
            trials.left_out.setdefault(reason, []).append(f"{one.trial.name} (as {first.trial.name})")
    return trials


def _spec(trial: ForeignTrial, meaning: Meaning, experiment: Experiment, ignored: Sequence[str]) -> ImportedSpec:
    def value(name: str) -> Scalar | None:
        source = meaning.sources.get(name)
        found = None if source is None else value_of(trial, source)
        return None if found is None else canonical(found)

    seed = value("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        key = meaning.sources["seed"].key
        raise UserError(f"{trial.name}: {key} is {value_of(trial, Source(key))!r}, and a seed is a whole number from 0")
    epochs, score_test = value("epochs"), value("score_test")
    method = _text(value("method"))
    settings = {
        key: canonical(one) for key, one in trial.params.items() if is_setting(key, meaning, experiment, ignored)
    }
    try:
        return ImportedSpec(
            model=_text(value("model")),
            dataset=_text(value("dataset")),
            method=method,
            seed=seed,
            settings=_renamed(settings, method),
            epochs=epochs if epochs != NULL else None,  # type: ignore[arg-type]  # ImportedSpec refuses what is none
            score_test=True if score_test is None else score_test,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise UserError(f"{trial.name}: {error}") from error


def _renamed(settings: Mapping[str, Scalar], method: str) -> dict[str, Scalar]:
    """Return settings by the names that they have in a store.

    A method's own hyperparameter, ``lora.r`` in ``runs.csv``, loses the name of the method, and a setting with the name
    of a field of a spec gets ``config/`` before it.
    """
    own = {key: key.removeprefix(f"{method}.") for key in settings}
    names = {key: name if name == key or name not in settings else key for key, name in own.items()}
    return {f"config/{names[key]}" if names[key] in _RESERVED else names[key]: one for key, one in settings.items()}


_RESERVED = ("model", "dataset", "method", "seed", "settings", "method_params", "epochs", "score_test")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cells(specs: Sequence[ImportedSpec]) -> list[dict[str, Any]]:
    """Return the cells of ``specs`` with their seeds, as a request of ``sweep.json`` lists them."""
    seeds: dict[str, list[int]] = {}
    for spec in specs:
        seeds.setdefault(spec.cell, []).append(spec.seed)
    return [{**json.loads(cell), "seeds": sorted(found), "imported": True} for cell, found in seeds.items()]


_LEFT_OUT = "left out: "
_ORDER = (Status.COMPLETED, Status.STOPPED, None, Status.DIVERGED, Status.OUT_OF_MEMORY, Status.FAILED)


def _counts(trials: _Sorted) -> list[str]:
    """Return a line for each state and its reason, the completed trials first, then those that are left out."""
    states: dict[Ending, list[str]] = {}
    for one in trials.kept.values():
        states.setdefault(one.ending, []).append(one.trial.name)
    lines = []
    for ending, names in sorted(states.items(), key=lambda item: _ORDER.index(item[0].status)):
        state = "unfinished" if ending.status is None else ending.status.value.replace("_", " ")
        shown = "" if ending.status is Status.COMPLETED else f" ({_names(names)})"
        lines.append(f"{state}: {how_many(len(names), 'trial')}{shown}: {ending.reason}")
    for reason, names in trials.left_out.items():
        lines.append(f"{_LEFT_OUT}{how_many(len(names), 'trial')} ({_names(names)}): {reason}")
    return lines


def _notes(experiment: Experiment, meaning: Meaning, trials: _Sorted) -> list[str]:
    """Return a line for each thing that is lost or doubtful in the trials that count."""
    notes = [*experiment.notes, *(line for one in trials.kept.values() for line in one.trial.torn)]
    notes += [f"{key!r} is not taken: it lies outside of the range of scores" for key in meaning.not_scores]
    earlier: dict[str, list[str]] = {}
    for one in trials.kept.values():
        for name in one.curve.earlier if one.ending.status is Status.COMPLETED else ():
            earlier.setdefault(name, []).append(one.trial.name)
    for name, names in earlier.items():
        notes.append(f"{name}: {how_many(len(names), 'trial')} lack it in the last row; the last reported value counts")
    return [*notes, *_shorter(trials), *_alike(trials)]


def _shorter(trials: _Sorted) -> list[str]:
    """Return a line for the completed trials that are shorter than another of their cell."""
    lengths: dict[str, list[tuple[int, str]]] = {}
    for one in trials.kept.values():
        if one.ending.status is Status.COMPLETED:
            lengths.setdefault(one.spec.cell, []).append((len(one.curve.epochs), one.trial.name))
    short = [name for found in lengths.values() for length, name in found if length < max(found)[0]]
    if not short:
        return []
    return [
        f"{how_many(len(short), 'completed trial')} ({_names(short)}) ended before the longest with the same settings: "
        "early stopping or a scheduler, which the files do not tell apart; each counts with its own last row"
    ]


def _alike(trials: _Sorted) -> list[str]:
    """Return a line for each setting whose values look alike and are kept apart, or that differs in every trial."""
    specs = [one.spec for one in trials.kept.values()]
    notes = []
    for name in dict.fromkeys(key for spec in specs for key in spec.settings):
        values = [spec.settings[name] for spec in specs if name in spec.settings]
        if kinds := mixed_kinds(values):
            notes.append(f"setting {name}: {kinds} are kept apart, since one is a truth value and the other a number")
        if len(values) == len(specs) >= 3 and len({json.dumps(one) for one in values}) == len(specs):
            notes.append(
                f"setting {name} differs in every trial, so that no two trials are one configuration; if it is none, "
                f"add --ignore {name!r}"
            )
    return notes


def _about(place: Path, experiment: Experiment, meaning: Meaning, ignored: Sequence[str]) -> list[str]:
    """Return lines on what was found and which meaning its keys were given."""
    keys = dict.fromkeys(key for trial in experiment.trials for key in trial.params)
    settings = [key for key in keys if is_setting(key, meaning, experiment, ignored)]
    left = [key for key in keys if key not in meaning.used and key not in settings]
    taken = [f"{name} = {source}" for name, source in meaning.sources.items()]
    scores = [f"{name} = {key}" for name, key in meaning.scores.items()]
    best = f"val_{main_metric(meaning)}"
    chosen = f"; the best epoch is that of the best {best}" if best in meaning.scores else ""
    return [
        f"{place}: {how_many(len(experiment.trials), 'trial')} of the kind {experiment.kind.value}",
        f"taken: {', '.join(taken)}",
        f"scores: {', '.join(scores)}{chosen}",
        f"settings: {', '.join(settings) or 'none'}" + (f"; no settings: {', '.join(left)}" if left else ""),
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
