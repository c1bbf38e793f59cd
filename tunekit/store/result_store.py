"""The folder of one sweep, and the class ``ResultStore``, which writes and reads the files in it.

<sweep>/sweep.json                      every request: the cells and seeds, the time and the versions of the software
<sweep>/search.json                     the studies of a search, their trials and choices (tunekit.store.search_records)
<sweep>/trials/<name>-<trial_id>/       spec.json epochs.jsonl steps.csv summary.json predictions.parquet log.txt
<sweep>/trials/<...>.<fingerprint>/     a stale trial of the same spec, from other code, data or weights
<sweep>/data/                           a copy of each dataset
<sweep>/cache/                          a copy of what was read, for a fast next reading (tunekit.store.frames)

Records are JSON, CSV and Parquet, never pickles. A recorded trial of another fingerprint is renamed and never
overwritten.
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

from tunekit.schema import SCHEMA_VERSION, EpochRecord, Fingerprint, TrialSpec, TrialSummary
from tunekit.storage.files import map_files, move_file, move_folder, sync, write_atomic
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import Place, local_folder, location, snapshot, without_snapshot
from tunekit.store.existing import SEARCH_FILE, SWEEP_FILE
from tunekit.store.frames import Frames, ShowProgress, read_frames
from tunekit.store.records import DamagedRecord, ImportedSpec, StoredTrial, load_record, read_epochs, refuse_link
from tunekit.store.search_records import Search
from tunekit.store.sweep_file import read_requests
from tunekit.store.trial_files import EPOCHS_FILE, PREDICTIONS_FILE, SPEC_FILE, STEPS_FILE, SUMMARY_FILE

PREDICTION_ROWS = 2_000_000
"""The most rows with which a trial keeps the predictions of all its epochs. A trial that would have more rows keeps
those of its last epoch and of its best epoch on validation only."""


class ResultStore:
    """The records of the sweep in the folder ``root`` (``<storage>/<sweep>``). Reading creates no file.

    Every method raises OSError where the disk or the server of an object store fails.
    """

    def __init__(self, root: str | os.PathLike[str] | Place) -> None:
        self.root = location(root)

    @property
    def trials_folder(self) -> Place:
        """The folder that holds the folders of the trials."""
        return self.root / "trials"

    @property
    def cache_folder(self) -> Path:
        """The folder of the cache. It is on this machine where the sweep is in an object store."""
        return (local_folder(self.root) if isinstance(self.root, ObjectPath) else self.root) / "cache"

    @property
    def data_folder(self) -> Place:
        """The folder that holds a normalised copy of each dataset."""
        return self.root / "data"

    def folder(self, spec: TrialSpec | ImportedSpec) -> Place:
        """Return the folder that ``spec`` has in this store, whether it exists or not."""
        return self.trials_folder / spec.folder

    def find_folder(self, trial_id: str) -> Place | None:
        """Return the folder of the trial with this id, or None where there is none. Stale trials are not found."""
        found: list[Place] = [*self.trials_folder.glob(f"*-{trial_id}")]
        return found[0] if found else None

    # -- writing -----------------------------------------------------------------------------------------------------

    def open_trial(self, spec: TrialSpec | ImportedSpec, fingerprint: Fingerprint) -> Place:
        """Return the folder that ``claim_folder`` gives, and make it and its spec.json where they are missing."""
        folder = self.claim_folder(spec, fingerprint)
        if (folder / SPEC_FILE).exists():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "schema_version": SCHEMA_VERSION,
            "imported": isinstance(spec, ImportedSpec),
            "trial_id": spec.trial_id,
            "spec": spec.to_dict(),
            "fingerprint": asdict(fingerprint),
        }
        write_atomic(folder / SPEC_FILE, _json(content))
        return folder

    def claim_folder(self, spec: TrialSpec | ImportedSpec, fingerprint: Fingerprint) -> Place:
        """Return the folder of ``spec``, and make sure that it holds no trial of another fingerprint.

        This locks nothing: the driver's lease (``tunekit.storage.lease``) keeps other drivers out.

        A folder that holds one is renamed: the digest of the other fingerprint is appended to its name. A folder that
        can't be read or is a link gets "damaged" instead of the digest. A trial of ``fingerprint`` that was renamed
        before gets its name back. Where the store has no trial of ``fingerprint``, the folder holds no spec.json
        afterwards, and usually does not exist.
        """
        folder = self.folder(spec)
        if folder.is_symlink() or (folder / SPEC_FILE).exists():
            try:
                stored = self.read(folder)
                if not stored.fingerprint.differs_in(fingerprint):
                    return folder
                suffix = stored.fingerprint.digest
            except DamagedRecord:
                suffix = "damaged"
            stale_folder = folder.with_name(f"{folder.name}.{suffix}")
            if stale_folder.exists():
                stale_folder = folder.with_name(f"{stale_folder.name}-{datetime.now(UTC):%Y%m%d%H%M%S%f}")
            move_folder(folder, stale_folder, SPEC_FILE)
        renamed_before = folder.with_name(f"{folder.name}.{fingerprint.digest}")
        if renamed_before.exists() and not folder.exists():
            move_folder(renamed_before, folder, SPEC_FILE)
        return folder

    def write_epochs(self, folder: Place, records: Sequence[EpochRecord]) -> None:
        """Write epochs.jsonl anew: one row for each of ``records``, which must go from epoch 1 on without a gap."""
        rows = [f"{json.dumps(record.row(), allow_nan=False)}\n" for record in records]
        write_atomic(folder / EPOCHS_FILE, "".join(rows).encode())

    def write_steps(self, folder: Place, steps: pd.DataFrame) -> None:
        """Write steps.csv anew: one row for each optimizer step, with epoch, step, train_loss and learning_rate.

        A power cut can lose the file until ``wait_for_disk`` returns.
        """
        write_atomic(folder / STEPS_FILE, steps.to_csv(index=False, lineterminator="\n").encode(), durable=False)

    def write_predictions(self, folder: Place, predictions: pd.DataFrame) -> None:
        """Write predictions.parquet anew, one row for each example.

        The columns are split, epoch, item_id, group_id, gold, predicted and logits, a list of the outputs of the
        trial's task (``tunekit.tasks``).

        A power cut can lose the file until ``wait_for_disk`` returns.
        """
        buffer = BytesIO()
        predictions.to_parquet(buffer, index=False)
        write_atomic(folder / PREDICTIONS_FILE, buffer.getvalue(), durable=False)

    def wait_for_disk(self, folder: Place) -> None:
        """Wait until the disk holds steps.csv and predictions.parquet.

        This is called before a file is written that relies on them.
        """
        if isinstance(folder, ObjectPath):
            return
        for name in (STEPS_FILE, PREDICTIONS_FILE):
            if (folder / name).exists():
                sync(folder / name)

    def write_summary(self, folder: Place, summary: TrialSummary) -> None:
        """Write summary.json, the last file of a trial. It says that the trial has ended, and how."""
        self.wait_for_disk(folder)
        write_atomic(folder / SUMMARY_FILE, _json({"schema_version": SCHEMA_VERSION, **asdict(summary)}))

    def set_summary_aside(self, folder: Place) -> None:
        """Rename the summary.json of a failed trial, so that the trial runs again from its records.

        The new name is summary-1.json, or the next number where there are earlier ones.
        """
        count = len(list(folder.glob("summary-*.json")))
        move_file(folder / SUMMARY_FILE, folder / f"summary-{count + 1}.json")

    def add_request(self, request: Mapping[str, Any]) -> None:
        """Append a request to sweep.json, with the present time as its ``time``."""
        requests = [*self.requests(), {**request, "time": datetime.now(UTC).isoformat(timespec="seconds")}]
        write_atomic(self.root / SWEEP_FILE, _json({"schema_version": SCHEMA_VERSION, "requests": requests}))

    def write_search(self, search: Search) -> None:
        """Write search.json anew."""
        write_atomic(self.root / SEARCH_FILE, _json({"schema_version": SCHEMA_VERSION, **search.to_dict()}))

    # -- reading -----------------------------------------------------------------------------------------------------

    def requests(self, cache: Path | None = None) -> list[dict[str, Any]]:
        """Return all requests, the oldest first. Raises UserError where sweep.json is damaged.

        ``tunekit.store.sweep_file.read_requests`` explains ``cache``.
        """
        return read_requests(self.root / SWEEP_FILE, cache)

    def search(self) -> Search | None:
        """Return what search.json holds, or None for a sweep that is no search. Raises DamagedRecord."""
        path = self.root / SEARCH_FILE
        if not path.exists():
            return None
        content = load_record(path)
        try:
            return Search.from_dict(content)
        except (ValueError, TypeError) as error:
            raise DamagedRecord(f"{path}: {error}") from error

    def read(self, folder: Place) -> StoredTrial:
        """Return the records of the trial in ``folder``. Raises DamagedRecord, which names the file and the line."""
        refuse_link(folder)
        folder = snapshot(folder)
        content = load_record(folder / SPEC_FILE)
        try:
            imported = content.get("imported") is True
            spec = (ImportedSpec if imported else TrialSpec).from_dict(content["spec"])
            fingerprint = Fingerprint.from_dict(content["fingerprint"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedRecord(f"{folder / SPEC_FILE}: {error}") from error
        summary = None
        if (folder / SUMMARY_FILE).exists():
            content = load_record(folder / SUMMARY_FILE)
            try:
                summary = TrialSummary.from_dict({k: v for k, v in content.items() if k != "schema_version"})
            except (ValueError, TypeError) as error:
                raise DamagedRecord(f"{folder / SUMMARY_FILE}: {error}") from error
        epochs = read_epochs(folder / EPOCHS_FILE, imported)
        if summary and len(epochs) < summary.num_epochs:
            raise DamagedRecord(f"{folder / EPOCHS_FILE}: {len(epochs)} epochs, {summary.num_epochs} were recorded")
        return StoredTrial(without_snapshot(folder), spec, fingerprint, epochs, summary)

    def dataset_descriptions(self) -> list[Place]:
        """Return the JSON files that describe the copies of the datasets, sorted by name."""
        found: list[Place] = [*self.data_folder.glob("*.json")]
        return sorted(found, key=lambda path: path.name)

    def folders(self) -> Iterator[Place]:
        """Yield the folders of all stored trials, stale trials included, sorted by name."""
        trials = snapshot(self.trials_folder)
        if trials.is_dir():
            yield from sorted(p for p in trials.iterdir() if (p / SPEC_FILE).is_file())

    def folder_names(self) -> frozenset[str]:
        """Return the names of all files and folders in the folder of the trials, with or without a spec.json."""
        folder = self.trials_folder
        # An object store lists a missing folder as empty.
        exists = folder.is_dir() if isinstance(folder, Path) else True
        return frozenset(path.name for path in folder.iterdir()) if exists else frozenset()

    def read_all(self, folders: Iterable[Place]) -> Iterator[StoredTrial | ValueError]:
        """Yield the trial in each of ``folders``, in order, or the error that says why a trial can't be read."""
        return map_files(self._read_or_error, folders, self.root)

    def _read_or_error(self, folder: Place) -> StoredTrial | ValueError:
        try:
            return self.read(folder)
        except ValueError as error:
            return error

    def trials(self) -> tuple[list[StoredTrial], list[str]]:
        """Return all readable trials, stale ones included, and one line for each damaged trial."""
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
        progress: ShowProgress = iter,
        *,
        write_cache: bool = True,
        previous: Frames | None = None,
    ) -> Frames:
        """Return all records, those of stale trials included, as DataFrames.

        ``tunekit.store.frames.read_frames`` explains the arguments.
        """
        return read_frames(
            self.trials_folder, self.read_all, cache, progress, write_cache=write_cache, previous=previous
        )


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
