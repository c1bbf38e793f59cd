"""A sweep's folder <-> records and tidy DataFrames. No ray, no torch, no pickle; nothing recorded is ever overwritten.

<sweep>/sweep.json                      every request: what was asked, when, by which version
<sweep>/search.json                     of a search: its studies, what each tried and chose (search_records)
<sweep>/trials/<name>-<trial_id>/       spec.json epochs.jsonl steps.csv summary.json predictions.parquet log.txt
<sweep>/trials/<...>.<fingerprint>/     a trial of the same spec from other code, data or weights: stale, kept
<sweep>/cache/                          what analysis read, to read it faster (tunekit.store.frames)
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from tunekit.errors import UserError
from tunekit.parsing import strict_json
from tunekit.schema import SCHEMA_VERSION, EpochRecord, Fingerprint, TrialSpec, TrialSummary
from tunekit.storage.files import each, move_file, move_folder, sync, write_atomic
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, live, local_folder, location, snapshot
from tunekit.store.frames import Frames, Progress, read_frames
from tunekit.store.records import (
    SPEC,
    DamagedRecord,
    ImportedSpec,
    StoredTrial,
    checked_request,
    load_record,
    read_epochs,
    read_text,
    refuse_link,
)
from tunekit.store.search_records import Search

PREDICTION_ROWS = 2_000_000
"""Predictions a trial keeps of every epoch; beyond, those of the last and the best validation epoch."""


class ResultStore:
    """The records of one sweep under ``root`` (``<storage>/<sweep>``). Reading creates nothing.

    What a server refuses raises OSError everywhere.
    """

    def __init__(self, root: str | os.PathLike[str] | Place) -> None:
        self.root = location(root)

    @property
    def trials_folder(self) -> Place:
        """Where the trials' folders lie."""
        return self.root / "trials"

    @property
    def cache_folder(self) -> Path:
        """Where what was read is kept, to be read faster; on this machine where the store is on an object store."""
        return (local_folder(self.root) if isinstance(self.root, ObjectPath) else self.root) / "cache"

    @property
    def data_folder(self) -> Place:
        """Where the normalised copies of the datasets lie."""
        return self.root / "data"

    def folder(self, spec: TrialSpec | ImportedSpec) -> Place:
        """The trial's folder, there or not."""
        return self.trials_folder / spec.folder

    def find(self, trial_id: str) -> Place | None:
        """The folder of the trial with this id, None where there is none."""
        found: list[Place] = [*self.trials_folder.glob(f"*-{trial_id}")]
        return found[0] if found else None

    # -- writing -----------------------------------------------------------------------------------------------------

    def begin(self, spec: TrialSpec | ImportedSpec, fingerprint: Fingerprint) -> Place:
        """The trial's folder with its spec.json, made where there is none of this fingerprint."""
        folder = self.claim_folder(spec, fingerprint)
        if (folder / SPEC).exists():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "schema_version": SCHEMA_VERSION,
            "imported": isinstance(spec, ImportedSpec),
            "trial_id": spec.trial_id,
            "spec": spec.to_dict(),
            "fingerprint": asdict(fingerprint),
        }
        write_atomic(folder / "spec.json", _json(content))
        return folder

    def claim_folder(self, spec: TrialSpec | ImportedSpec, fingerprint: Fingerprint) -> Place:
        """Make the trial's own folder the one of ``fingerprint`` if there is one, and no other's.

        One that is damaged, a link, or of another fingerprint is renamed, with that fingerprint's digest behind.
        """
        folder = self.folder(spec)
        if folder.is_symlink() or (folder / SPEC).exists():
            try:
                stored = self.read(folder)
                if not stored.fingerprint.differs_in(fingerprint):
                    return folder
                suffix = stored.fingerprint.digest
            except DamagedRecord:
                suffix = "damaged"
            aside = folder.with_name(f"{folder.name}.{suffix}")
            if aside.exists():
                aside = folder.with_name(f"{aside.name}-{datetime.now(UTC):%Y%m%d%H%M%S%f}")
            move_folder(folder, aside, SPEC)
        own = folder.with_name(f"{folder.name}.{fingerprint.digest}")
        if own.exists() and not folder.exists():
            move_folder(own, folder, SPEC)
        return folder

    def write_epochs(self, folder: Place, records: Sequence[EpochRecord]) -> None:
        """Rewrite epochs.jsonl whole: one row an epoch, counted from 1 without a gap."""
        rows = [{"schema_version": SCHEMA_VERSION, **vars(record)} for record in records]
        write_atomic(folder / "epochs.jsonl", "".join(f"{_line(row)}\n" for row in rows).encode())

    def write_steps(self, folder: Place, steps: pd.DataFrame) -> None:
        """Rewrite steps.csv whole: columns epoch, step, train_loss, learning_rate; one row an optimizer step.

        A power cut may take it back until ``sync_sides``, and so with predictions.parquet.
        """
        write_atomic(folder / "steps.csv", steps.to_csv(index=False, lineterminator="\n").encode(), durable=False)

    def write_predictions(self, folder: Place, predictions: pd.DataFrame) -> None:
        """Rewrite predictions.parquet: split, epoch, item_id, group_id, gold, predicted, logits (float16 list)."""
        buffer = BytesIO()
        predictions.to_parquet(buffer, index=False)
        write_atomic(folder / "predictions.parquet", buffer.getvalue(), durable=False)

    def sync_sides(self, folder: Place) -> None:
        """Wait until a disk holds steps.csv and predictions.parquet: before whatever relies on them is written."""
        if isinstance(folder, ObjectPath):
            return
        for name in ("steps.csv", "predictions.parquet"):
            if (folder / name).exists():
                sync(folder / name)

    def write_summary(self, folder: Place, summary: TrialSummary) -> None:
        """Write summary.json, the last file of a trial that ended."""
        self.sync_sides(folder)
        write_atomic(folder / "summary.json", _json({"schema_version": SCHEMA_VERSION, **asdict(summary)}))

    def reopen(self, folder: Place) -> None:
        """Set a failed trial's summary aside, so that it runs again; what it recorded stays."""
        count = len(list(folder.glob("summary-*.json")))
        move_file(folder / "summary.json", folder / f"summary-{count + 1}.json")

    def add_request(self, request: Mapping[str, Any]) -> None:
        """Append one request (what was asked, by which version) to sweep.json."""
        requests = [*self.requests(), {**request, "time": datetime.now(UTC).isoformat(timespec="seconds")}]
        write_atomic(self.root / "sweep.json", _json({"schema_version": SCHEMA_VERSION, "requests": requests}))

    def write_search(self, search: Search) -> None:
        """Rewrite search.json whole."""
        write_atomic(self.root / "search.json", _json({"schema_version": SCHEMA_VERSION, **search.to_dict()}))

    # -- reading -----------------------------------------------------------------------------------------------------

    def requests(self) -> list[dict[str, Any]]:
        """All requests, oldest first. Raises UserError where sweep.json is damaged."""
        path = self.root / "sweep.json"
        if not path.exists():
            return []
        try:
            content = load_record(path)
            return [checked_request(one) for one in content["requests"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}); restore it, or move it away to start its list anew"
            ) from error

    def search(self) -> Search | None:
        """What a search did; None where the sweep is none. Raises DamagedRecord where search.json can't be read."""
        path = self.root / "search.json"
        if not path.exists():
            return None
        content = load_record(path)
        try:
            return Search.from_dict(content)
        except (ValueError, TypeError) as error:
            raise DamagedRecord(f"{path}: {error}") from error

    def read(self, folder: Place) -> StoredTrial:
        """One trial's records. Raises DamagedRecord, naming file and line, where one can't be read or is a link."""
        refuse_link(folder)
        folder = snapshot(folder)
        content = load_record(folder / "spec.json")
        try:
            imported = content.get("imported") is True
            spec = (ImportedSpec if imported else TrialSpec).from_dict(content["spec"])
            fingerprint = Fingerprint.from_dict(content["fingerprint"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedRecord(f"{folder / 'spec.json'}: {error}") from error
        summary = None
        if (folder / "summary.json").exists():
            content = load_record(folder / "summary.json")
            try:
                summary = TrialSummary.from_dict({k: v for k, v in content.items() if k != "schema_version"})
            except (ValueError, TypeError) as error:
                raise DamagedRecord(f"{folder / 'summary.json'}: {error}") from error
        epochs = read_epochs(folder / "epochs.jsonl", imported)
        if summary and len(epochs) < summary.num_epochs:
            raise DamagedRecord(f"{folder / 'epochs.jsonl'}: {len(epochs)} epochs, {summary.num_epochs} were recorded")
        return StoredTrial(live(folder), spec, fingerprint, epochs, summary)

    def copies(self) -> list[Place]:
        """Descriptions (.json) of the datasets whose copies lie here, by name."""
        found: list[Place] = [*self.data_folder.glob("*.json")]
        return sorted(found, key=lambda path: path.name)

    def display_names(self) -> dict[str, str]:
        """Names of the sweep's datasets for people, by their names in the specs."""
        found = {}
        for path in self.copies():
            try:
                content = strict_json(read_text(path))
                found[str(content["name"])] = str(content["display_name"])
            except (ValueError, KeyError, TypeError):
                continue  # a damaged copy costs a nicer name, no number
        return found

    def folders(self) -> Iterator[Place]:
        """Folders of all stored trials, stale ones too, by name."""
        trials = snapshot(self.trials_folder)
        if trials.is_dir():
            yield from sorted(p for p in trials.iterdir() if (p / SPEC).is_file())

    def names(self) -> frozenset[str]:
        """Of all that lies among the trials' folders."""
        folder = self.trials_folder
        there = folder.is_dir() if isinstance(folder, Path) else True  # listing asks a server that anyway
        return frozenset(path.name for path in folder.iterdir()) if there else frozenset()

    def read_all(self, folders: Iterable[Place]) -> Iterator[StoredTrial | ValueError]:
        """The trials of ``folders`` in order; in the place of one that is damaged, the error that says so."""
        return each(self._read_or_error, folders, self.root)

    def _read_or_error(self, folder: Place) -> StoredTrial | ValueError:
        try:
            return self.read(folder)
        except ValueError as error:
            return error

    def trials(self) -> tuple[list[StoredTrial], list[str]]:
        """All readable trials, stale ones too, and one line for each that is damaged."""
        found, damaged = [], []
        for trial in self.read_all(self.folders()):
            if isinstance(trial, StoredTrial):
                found.append(trial)
            else:
                damaged.append(str(trial))
        return found, damaged

    def frames(
        self,
        cache: Path | None = None,
        progress: Progress = iter,
        *,
        write_cache: bool = True,
        previous: Frames | None = None,
    ) -> Frames:
        """Return all records as tidy DataFrames, stale trials too; ``tunekit.store.frames.read_frames`` says how."""
        return read_frames(
            self.trials_folder, self.read_all, cache, progress, write_cache=write_cache, previous=previous
        )


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False)


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
