"""Read all records of a store as two DataFrames, and keep them in a cache, so that the next reading is fast.

Each trial in the cache has a *stamp*: a number that changes whenever the trial's files change. A trial whose stamp has
changed is read again. A cache that is damaged or of another version is made anew.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tunekit.schema import EpochRecord, Status, canonical_json
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, snapshot
from tunekit.store.frame_cache import EPOCHS, TRIALS, as_frame, load_frames, save_frames
from tunekit.store.records import StoredTrial
from tunekit.store.trial_files import RECORD_FILES

ShowProgress = Callable[[Sequence[str]], Iterable[str]]
"""A function that yields the items of its argument and shows how far it is. ``iter`` is one that shows nothing."""


@dataclass(frozen=True)
class Frames:
    """The records of a store as DataFrames."""

    trials: pd.DataFrame
    """One row for each readable trial, with the index 0 to n - 1. ``own`` is False where the folder does not have the
    name that the spec gives, as of a stale trial, and ``status`` null without a summary. ``settings`` (all fields but
    model, dataset, method, seed), ``execution`` and ``provenance`` are JSON; ``fit_*`` are scores on train."""
    epochs: pd.DataFrame
    """One row for each epoch of these trials: the name of the ``folder``, the fields of EpochRecord, and ``scores``, a
    JSON text of the further scores that other tasks and imported trials have, or null."""
    damaged: tuple[str, ...]
    """One line for each trial that can't be read. The line names the file."""
    unrelated: tuple[str, ...]
    """The names of files and folders among the trials' folders that hold no spec.json."""
    in_cache: bool
    """Whether the cache holds all of these rows."""

    def outlines(self) -> list["TrialOutline"]:
        """Return an outline of each readable trial, sorted by folder."""
        num_epochs = self.epochs["folder"].value_counts().to_dict()
        columns = self.trials[["folder", "trial_id", "fingerprint", "status", "error"]].astype(object)
        rows: Any = columns.where(columns.notna(), None).itertuples(index=False)
        return [
            TrialOutline(
                row.folder, row.trial_id, row.fingerprint, Status(row.status) if row.status else None,
                num_epochs.get(row.folder, 0), row.error,
            )
            for row in rows
        ]  # fmt: skip


@dataclass(frozen=True)
class TrialOutline:
    """The identity of a stored trial, and how it ended, without its scores. Planning needs no more than this."""

    folder: str
    """The name of the trial's folder."""
    trial_id: str
    """The id of the trial's spec."""
    fingerprint: str
    """The digest of the trial's fingerprint."""
    status: Status | None
    """How the trial ended; None where it still runs or was interrupted."""
    num_epochs: int
    """The number of epochs on record."""
    error: str | None
    """The error that ended the trial; None where no error did."""


def read_frames(
    trials_folder: Place,
    read_all: Callable[[Iterable[Place]], Iterable[StoredTrial | ValueError]],
    cache: Path | None,
    progress: ShowProgress,
    *,
    write_cache: bool = True,
    previous: Frames | None = None,
) -> Frames:
    """Return all records of the trials below ``trials_folder``. Trials that have not changed come from the cache.

    ``read_all`` yields the trial in each folder of its argument, in order, and an error for a damaged one. ``cache`` is
    the folder of the cache; with None there is no cache. If ``write_cache`` is True, the cache is written whenever a
    trial is new, has changed or is gone. ``previous`` is the result of an earlier call, which is used instead of
    reading the cache. ``progress`` gets the names of the folders that are read from files, which include damaged trials
    every time. Raises OSError where the cache can't be written.
    """
    trials_folder = snapshot(trials_folder)
    stamps, unrelated = _stamps(trials_folder)
    trials, epochs = (previous.trials, previous.epochs) if previous else load_frames(cache)
    in_cache = previous.in_cache if previous else cache is not None
    folders = trials["folder"].to_numpy(object)
    unchanged = np.array(
        [stamps.get(name) == stamp for name, stamp in zip(folders, trials["stamp"].to_numpy(object), strict=True)], bool
    )
    known = set(folders[unchanged])
    stored, damaged = [], []
    unread = sorted(name for name in stamps if name not in known)
    read = read_all(trials_folder / name for name in unread)
    for _, trial in zip(progress(unread) if unread else (), read, strict=True):
        if isinstance(trial, ValueError):
            damaged.append(str(trial))
        else:
            stored.append(trial)
    if stored or not unchanged.all():
        trial_rows = [_trial_row(trial, stamps[trial.folder.name]) for trial in stored]
        epoch_rows = [_epoch_row(trial.folder.name, record) for trial in stored for record in trial.epochs]
        trials = _appended(trials[unchanged], trial_rows, TRIALS)
        trials = trials.sort_values("folder", kind="stable", ignore_index=True)
        epochs = _appended(epochs[epochs["folder"].isin(known)], epoch_rows, EPOCHS)
        epochs = epochs.sort_values(["folder", "epoch"], kind="stable", ignore_index=True)
        in_cache = False
    if cache is not None and write_cache and not in_cache:
        save_frames(cache, trials, epochs)
        in_cache = True
    return Frames(trials, epochs, tuple(damaged), unrelated, in_cache)


def scores_of(epochs: pd.DataFrame, name: str) -> pd.Series:
    """Return the scores called ``name``, such as ``test_pearson``, of rows of ``Frames.epochs``; NaN without one."""
    further = epochs["scores"].map(lambda text: json.loads(text).get(name) if isinstance(text, str) else None)
    return epochs.get(name, further).astype(float)


def _stamps(trials_folder: Place) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the stamp of each trial's folder by name, and the names of files and folders that hold no trial."""
    stamps: dict[str, int | None]
    if isinstance(trials_folder, ObjectPath):
        stamps = {folder.name: _object_stamp(folder) for folder in trials_folder.iterdir()}
    else:
        stamps = _disk_stamps(trials_folder) if trials_folder.is_dir() else {}
    unrelated = sorted(name for name, stamp in stamps.items() if stamp is None)
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}, tuple(unrelated)


def stamp_of(folder: Place) -> int | None:
    """Return a number that changes whenever a record in ``folder`` is written anew; None where there is no spec.json.

    It is a hash of the size and time of each record and, on a disk, of its inode number. ``folder`` of an object store
    must be a snapshot, so that no request is made.
    """
    return _object_stamp(folder) if isinstance(folder, ObjectPath) else _disk_stamp(f"{folder}/")


def _disk_stamps(trials_folder: Path) -> dict[str, int | None]:
    """Return the stamp of each folder in ``trials_folder`` by name.

    Files are looked up from the opened folder, which is faster than by whole paths.
    """
    opened = os.open(trials_folder, os.O_RDONLY)
    try:
        return {name: _disk_stamp(f"{name}/", opened) for name in os.listdir(opened)}
    finally:
        os.close(opened)


def _disk_stamp(folder: str, opened: int | None = None) -> int | None:
    """Return the stamp of a folder on a disk. With ``opened``, a folder's descriptor, ``folder`` is relative to it.

    ``folder`` ends in a slash; it is a text, which is faster than a Path.
    """
    parts: list[int] = []
    for name in RECORD_FILES:
        try:
            found = os.stat(folder + name, dir_fd=opened)
        except (FileNotFoundError, NotADirectoryError):
            if not parts:
                return None
        else:
            parts += (found.st_ino, found.st_size, found.st_mtime_ns)
    return hash(tuple(parts))  # the hash of whole numbers, unlike that of texts, is the same in every process


def _object_stamp(folder: ObjectPath) -> int | None:
    """Return the stamp of a folder in an object store."""
    files = [(path.stat() if path.is_file() else None) for path in (folder / name for name in RECORD_FILES)]
    return None if files[0] is None else hash(tuple((file.st_size, file.st_mtime_ns) if file else () for file in files))


def _trial_row(trial: StoredTrial, stamp: int) -> dict[str, Any]:
    """Return the row of ``trial`` in the frame of trials."""
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


def _epoch_row(folder: str, record: EpochRecord) -> dict[str, Any]:
    """Return the row of one epoch in the frame of epochs."""
    values = record.values()
    further = {name: value for name, value in values.items() if name not in EPOCHS.names}
    row = {name: value for name, value in values.items() if name not in further}
    return {"folder": folder, **row, "scores": canonical_json(further) if further else None}


def _appended(frame: pd.DataFrame, rows: list[dict[str, Any]], schema: pa.Schema) -> pd.DataFrame:
    """Return ``frame`` with ``rows`` below."""
    return pd.concat([frame, as_frame(pa.Table.from_pylist(rows, schema=schema))], ignore_index=True)
