"""A store's records as two tidy DataFrames, and the cache that makes reading them again fast.

cache/trials.parquet, cache/epochs.parquet: what was read, with a stamp of the files it was read from. A trial whose
files changed is read again; a cache that is torn or of another version is made anew.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tunekit.schema import SCHEMA_VERSION, EpochRecord, Status, canonical_json
from tunekit.storage.files import write_atomic
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, snapshot
from tunekit.store.records import StoredTrial

CACHE_VERSION = 3
RECORDS = ("spec.json", "epochs.jsonl", "summary.json")
Progress = Callable[[Sequence[str]], Iterable[str]]

_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()
_TRIALS = pa.schema(
    {
        "folder": _TEXT, "stamp": _INT, "own": pa.bool_(), "trial_id": _TEXT, "cell": _TEXT, "fingerprint": _TEXT,
        "model": _TEXT, "dataset": _TEXT, "method": _TEXT, "seed": _INT, "settings": _TEXT, "score_test": pa.bool_(),
        "planned_epochs": _INT, "status": _TEXT, "num_epochs": _INT, "best_epoch": _INT, "num_trainable_params": _INT,
        "num_total_params": _INT, "train_seconds": _FLOAT, "peak_memory_bytes": _INT,
        "predicted_memory_bytes": _INT, "fit_loss": _FLOAT,
        "fit_accuracy": _FLOAT, "fit_micro_f1": _FLOAT, "fit_macro_f1": _FLOAT, "error": _TEXT, "execution": _TEXT,
        "provenance": _TEXT,
    }
)  # fmt: skip
_KINDS = {"int": _INT, "float": _FLOAT}
_EPOCHS = pa.schema(
    {"folder": _TEXT, **{item.name: _KINDS[str(item.type).split(" ")[0]] for item in fields(EpochRecord)}}
)


@dataclass(frozen=True)
class Frames:
    """What a store holds."""

    trials: pd.DataFrame
    """One row a readable trial; index 0..n-1. ``own`` is false for stale ones and other folders that are not the
    spec's own; ``status`` is null for trials without a summary; ``settings`` (every field of the spec but model,
    dataset, method and seed), ``execution`` and ``provenance`` are JSON; ``fit_*`` are the scores on train."""
    epochs: pd.DataFrame
    """One row an epoch: the trial's ``folder`` and the fields of EpochRecord."""
    damaged: tuple[str, ...]
    """One line a trial that can't be read, naming its file."""
    odd: tuple[str, ...]
    """Names of what lies among the trials' folders and holds no spec.json."""
    kept: bool
    """Whether the cache holds all of it."""

    def outlines(self) -> list["Outline"]:
        """Where each readable trial stands, by folder."""
        recorded = self.epochs["folder"].value_counts().to_dict()
        columns = self.trials[["folder", "trial_id", "fingerprint", "status", "error"]].astype(object)
        rows = columns.where(columns.notna(), None).itertuples(index=False)
        return [
            Outline(
                row.folder, row.trial_id, row.fingerprint, Status(row.status) if row.status else None,
                recorded.get(row.folder, 0), row.error,
            )
            for row in rows
        ]  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """Where one stored trial stands."""

    folder: str
    """Its name."""
    trial_id: str
    fingerprint: str
    """Its digest."""
    status: Status | None
    """None for a trial that was interrupted or still runs."""
    num_epochs: int
    """Epochs on record."""
    error: str | None


def read_frames(
    trials_folder: Place,
    read_all: Callable[[Iterable[Place]], Iterable[StoredTrial | ValueError]],
    cache: Path | None,
    progress: Progress,
    *,
    write_cache: bool = True,
    previous: Frames | None = None,
) -> Frames:
    """Return all records of the trials below ``trials_folder`` as tidy frames.

    ``read_all`` reads trials' folders in order and gives, in the place of a damaged one, the error that says so.
    ``cache`` is a folder that holds what was read before, or None; with ``write_cache`` it is brought up to date.
    ``previous`` is what was read earlier and takes the cache's place in the reading. ``progress`` wraps the names of
    the folders that are read. Raises OSError where the cache can't be written.
    """
    place = snapshot(trials_folder)
    names, odd = _stamps(place)
    trials, epochs = (previous.trials, previous.epochs) if previous else _cached(cache)
    kept_there = previous.kept if previous else cache is not None
    folders = trials["folder"].to_numpy(object)
    fresh = np.array(
        [names.get(one) == stamp for one, stamp in zip(folders, trials["stamp"].to_numpy(object), strict=True)], bool
    )
    kept = set(folders[fresh])
    stored, damaged = [], []
    unread = sorted(name for name in names if name not in kept)
    read = read_all(place / name for name in unread)
    for _, trial in zip(progress(unread) if unread else (), read, strict=True):
        if isinstance(trial, ValueError):
            damaged.append(str(trial))
        else:
            stored.append(trial)
    changed = len(stored) or not fresh.all()
    if changed:
        rows = [_trial_row(trial, names[trial.folder.name]) for trial in stored]
        lines = [{"folder": t.folder.name, **vars(record)} for t in stored for record in t.epochs]
        trials = _joined(trials[fresh], rows, _TRIALS)
        trials = trials.sort_values("folder", kind="stable", ignore_index=True)
        epochs = _joined(epochs[epochs["folder"].isin(kept)], lines, _EPOCHS)
        epochs = epochs.sort_values(["folder", "epoch"], kind="stable", ignore_index=True)
        kept_there = False
    if cache is not None and write_cache and not kept_there:
        _write_cache(cache, trials, epochs)
        kept_there = True
    return Frames(trials, epochs, tuple(damaged), odd, kept_there)


def _stamps(trials_folder: Place) -> tuple[dict[str, int], tuple[str, ...]]:
    """The stamp of each trial's folder by name, and the names of what is none."""
    if isinstance(trials_folder, ObjectPath):
        stamps = {folder.name: _object_stamp(folder) for folder in trials_folder.iterdir()}
    else:
        entries = os.listdir(trials_folder) if trials_folder.is_dir() else []
        stamps = {name: _stamp(f"{trials_folder}/{name}/") for name in entries}
    odd = sorted(name for name, stamp in stamps.items() if stamp is None)
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}, tuple(odd)


def stamp_of(folder: Place) -> int | None:
    """A hash of size and time of each record, on disk of its inode too: this moves with every rewrite.

    None where there is no spec.json. An object store's ``folder`` is a snapshot, so that no request is made.
    The hash of whole numbers is the same in every process.
    """
    return _object_stamp(folder) if isinstance(folder, ObjectPath) else _stamp(f"{folder}/")


def _stamp(folder: str) -> int | None:
    """The same of a folder on disk as text, which is quicker than a Path."""
    parts: list[int] = []
    for name in RECORDS:
        try:
            found = os.stat(folder + name)
        except (FileNotFoundError, NotADirectoryError):
            if not parts:
                return None
        else:
            parts += (found.st_ino, found.st_size, found.st_mtime_ns)
    return hash(tuple(parts))


def _object_stamp(folder: ObjectPath) -> int | None:
    found = [(path.stat() if path.is_file() else None) for path in (folder / name for name in RECORDS)]
    return None if found[0] is None else hash(tuple((one.st_size, one.st_mtime_ns) if one else () for one in found))


def _trial_row(trial: StoredTrial, stamp: int) -> dict[str, Any]:
    spec, summary = trial.spec, trial.summary
    values = spec.to_dict()
    values |= values.pop("method_params", {}) | values.pop("settings", {})
    settings = {k: v for k, v in values.items() if k not in ("model", "dataset", "method", "seed")}
    row = {
        "folder": trial.folder.name,
        "stamp": stamp,
        "own": trial.folder.name == spec.folder,
        "trial_id": spec.trial_id,
        "cell": spec.cell,
        "fingerprint": trial.fingerprint.digest,
        **{name: getattr(spec, name) for name in ("model", "dataset", "method", "seed", "score_test")},
        "settings": canonical_json(settings),
        "planned_epochs": spec.epochs,
    }
    if summary is None:
        return row
    plain = ("num_epochs", "best_epoch", "num_trainable_params", "num_total_params", "train_seconds")
    return (
        row
        | {name: getattr(summary, name) for name in (*plain, "peak_memory_bytes", "predicted_memory_bytes", "error")}
        | {f"fit_{name}": value for name, value in (summary.train_scores or {}).items()}
        | {"status": summary.status.value}
        | {name: json.dumps(getattr(summary, name), sort_keys=True) for name in ("execution", "provenance")}
    )


def _joined(kept: pd.DataFrame, rows: list[dict[str, Any]], schema: pa.Schema) -> pd.DataFrame:
    return pd.concat([kept, _frame(pa.Table.from_pylist(rows, schema=schema))], ignore_index=True)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Whole numbers stay whole beside nulls."""
    return table.to_pandas(types_mapper={_INT: pd.Int64Dtype()}.get)


def _empty() -> tuple[pd.DataFrame, pd.DataFrame]:
    return _frame(_TRIALS.empty_table()), _frame(_EPOCHS.empty_table())


def _cached(cache: Path | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cached frames; empty ones where there is no cache, or not one that was written whole by this version."""
    if cache is None:
        return _empty()
    try:
        tables = [pq.ParquetFile(cache / f"{name}.parquet").read() for name in ("trials", "epochs")]
        for table in tables:
            table.validate(full=True)
    except (OSError, pa.ArrowException):
        return _empty()
    keys = {(table.schema.metadata or {}).get(b"tunekit", b"") for table in tables}
    plain = [table.replace_schema_metadata(None) for table in tables]
    whole = len(keys) == 1 and keys.pop().startswith(_version().encode())
    if not whole or [table.schema for table in plain] != [_TRIALS, _EPOCHS]:
        return _empty()
    return _frame(plain[0]), _frame(plain[1])


def _write_cache(cache: Path, trials: pd.DataFrame, epochs: pd.DataFrame) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    # One key in both files: a reader that meets files of two writers takes neither.
    key = _version() + os.urandom(8).hex()
    for name, frame, schema in (("trials", trials, _TRIALS), ("epochs", epochs, _EPOCHS)):
        table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
        buffer = BytesIO()
        pq.write_table(table.replace_schema_metadata({"tunekit": key}), buffer)
        write_atomic(cache / f"{name}.parquet", buffer.getvalue())


def _version() -> str:
    return f"{SCHEMA_VERSION}.{CACHE_VERSION}:"
