"""MLflow's runs, read from its SQLite database or from its folder ``mlruns``, without MLflow."""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.foreign.trial import (
    MACHINERY,
    MAX_ROWS,
    PREFIXES,
    Ended,
    Experiment,
    ForeignTrial,
    Kind,
    check_file,
    ended_by_word,
    files_below,
    read_text,
)
from tunekit.errors import UserError
from tunekit.parsing import how_many, read_yaml

META = "meta.yaml"
KEYS = {"train_loss": ("train_loss", "loss"), "train_seconds": ("train_runtime",)}
IGNORED = ("tag.*", "mlflow.*", *MACHINERY)
"""A run's tags and the name of its experiment, which can be mapped and are no settings."""
_STATES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_MAGIC = b"SQLite format 3\0"
_RUNS = (
    "SELECT r.run_uuid, r.status, r.lifecycle_stage, r.start_time, r.end_time, e.name, e.lifecycle_stage "
    "FROM runs r JOIN experiments e ON r.experiment_id = e.experiment_id ORDER BY r.start_time, r.run_uuid"
)
_METRICS = "SELECT run_uuid, step, key, value, is_nan FROM metrics ORDER BY step, timestamp"
_ACTIVE = "active"


@dataclass
class _Run:
    """A run as it is stored."""

    name: str
    status: str
    active: bool
    seconds: float | None
    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[int, str, float]] = field(default_factory=list)
    """The step, key and value of each point."""


def is_database(path: Path) -> bool:
    """Return whether a file is an SQLite database."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def is_run(place: Path, files: Sequence[str]) -> bool:
    """Return whether a folder with these files is that of a run in ``mlruns``."""
    return META in files and (place / "params").is_dir() and (place / "metrics").is_dir()


def read_mlflow(place: Path) -> Experiment:
    """Return all runs of a database or of a folder. Raises UserError where there are none or one can't be read."""
    runs = _of_database(place) if place.is_file() else _of_folder(place)
    trials = [_trial(run) for run in runs if run.active]
    if not trials:
        raise UserError(f"{place} holds no run of MLflow")
    deleted = len(runs) - len(trials)
    notes = (f"{how_many(deleted, 'run')} deleted in MLflow left out",) if deleted else ()
    return Experiment(Kind.MLFLOW, place.resolve().name, trials, KEYS, PREFIXES, IGNORED, notes=notes)


def _of_database(path: Path) -> list[_Run]:
    check_file(path)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            runs = {
                run: _Run(
                    run, status, (stage, kept) == (_ACTIVE, _ACTIVE), _seconds(start, end), {"mlflow.experiment": of}
                )
                for run, status, stage, start, end, of, kept in base.execute(_RUNS)
            }
            for prefix, table in (("", "params"), ("tag.", "tags")):
                for run, key, value in base.execute(f"SELECT run_uuid, key, value FROM {table}"):
                    runs[run].params[f"{prefix}{key}"] = value
            for run, step, key, value, is_nan in base.execute(_METRICS):
                runs[run].metrics.append((step, key, math.nan if is_nan else value))
    except (sqlite3.Error, KeyError) as error:
        raise UserError(f"{path} is no database of MLflow ({error})") from error
    return list(runs.values())


def _of_folder(folder: Path) -> list[_Run]:
    runs = []
    for place, files in files_below(folder):
        if is_run(place, files):
            meta = _meta(place / META)
            of = _meta(place.parent / META)
            active = meta.get("lifecycle_stage") == _ACTIVE and of.get("lifecycle_stage", _ACTIVE) == _ACTIVE
            status = _STATES.get(meta.get("status"), str(meta.get("status")))  # type: ignore[arg-type]
            seconds = _seconds(meta.get("start_time"), meta.get("end_time"))
            params = {"mlflow.experiment": of.get("name")}
            params |= {name: read_text(path) for name, path in _entries(place / "params")}
            params |= {f"tag.{name}": read_text(path) for name, path in _entries(place / "tags")}
            metrics = [row for name, path in _entries(place / "metrics") for row in _points(name, path)]
            runs.append(_Run(place.name, status, active, seconds, params, sorted(metrics, key=lambda one: one[0])))
    return runs


def _meta(path: Path) -> dict[str, Any]:
    content = read_yaml(path, str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged; mend it, or move the run away")
    return content


def _entries(folder: Path) -> Iterable[tuple[str, Path]]:
    """Yield the name and the file of each param, tag or metric; a ``/`` in a name is a folder."""
    for place, files in files_below(folder):
        for name in files:
            yield (place / name).relative_to(folder).as_posix(), place / name


def _points(name: str, path: Path) -> Iterable[tuple[int, str, float]]:
    """Yield the points of a metric's file, whose lines hold time, value and step."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            _, value, step = line.split()[:3]
            yield int(step), name, float(value)
        except ValueError as error:
            raise UserError(
                f"{path}:{number} is no point of a metric ({error}); mend it, or move the run away"
            ) from error


def _seconds(start: object, end: object) -> float | None:
    """Return the seconds between two times in milliseconds since 1970; None where one is missing."""
    return (end - start) / 1000 if isinstance(start, int) and isinstance(end, int) and end > 0 else None


def _trial(run: _Run) -> ForeignTrial:
    steps = Counter(key for _, key, _ in run.metrics)
    last = max((step for step, _, _ in run.metrics), default=0)
    rows: dict[int, dict[str, Any]] = {}
    final = {} if run.seconds is None else {"train_runtime": run.seconds}
    for step, key, value in run.metrics:
        if steps[key] == 1 and step == 0 < last:
            final[key] = value  # logged once and without a step, as scores after training are
        else:
            rows.setdefault(step, {"step": step})[key] = value  # of two values at one step the later counts
    if len(rows) > MAX_ROWS:
        raise UserError(f"run {run.name} has metrics at more than {MAX_ROWS:,} steps")
    found = [*(rows[step] for step in sorted(rows)), final]
    ended = ended_by_word(run.status) or Ended.UNKNOWN
    error = f"{run.status} in MLflow" if ended is Ended.FAILED else None
    return ForeignTrial(run.name, run.params, found, ended, f"{run.status} in MLflow", error, by_step=True)
