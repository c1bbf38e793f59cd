"""A small copy of a finished sweep for others to read: all its records, and nothing that only training needs.

The copy is a store like any other: ``tunekit report`` and ``tunekit.load`` read it, and a plan finds its trials done.
It has no weights, checkpoints, logs, caches and files of Ray, and no predictions of epochs that no table takes. The
steps are compressed. Of a user's own dataset only the description is copied, and not the texts.
"""

import gzip
import json
from collections.abc import Callable
from io import BytesIO

from tunekit.errors import UserError
from tunekit.parsing import how_many
from tunekit.schema import readable
from tunekit.storage.files import write_atomic
from tunekit.storage.paths import Place
from tunekit.store.existing import SEARCH_FILE, SWEEP_FILE, no_sweep
from tunekit.store.records import StoredTrial, read_predictions
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import COMPRESSED_STEPS_FILE, PREDICTIONS_FILE, RECORD_FILES, STEPS_FILE
from tunekit.tasks import task_of

OF_THE_SWEEP = (SWEEP_FILE, SEARCH_FILE, "best.yaml")


def release(root: Place, target: Place, say: Callable[[str], None]) -> None:
    """Write a small copy of the sweep at ``root`` to ``target``, and say how large it is and what was left out.

    Trials that have not ended and stale trials are left out. Raises UserError where there is no sweep at ``root``,
    where ``target`` exists and holds anything, and where a trial's records are damaged.
    """
    store, copy = ResultStore(root), ResultStore(target)
    if not store.trials_folder.is_dir():
        raise no_sweep(root, "trials folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists already; name a new folder")
    trials, damaged = store.trials()
    if damaged:
        raise UserError(f"{damaged[0]}; tunekit audit {root} says more")
    ended = [one for one in trials if one.summary is not None and one.folder.name == one.spec.folder]
    if not ended:
        raise UserError(f"no trial of {root} has ended; there is nothing to release")
    for name in OF_THE_SWEEP:
        if (root / name).exists():
            _copy(root / name, target / name)
    for trial in ended:
        _copy_trial(trial, copy.folder(trial.spec))
    with_text = [path for path in store.dataset_descriptions() if not _copy_data(path, copy.data_folder)]
    for path in with_text:
        say(f"{readable(path.stem)}: its texts are not in the copy, since it is data of your own")
    if len(ended) < len(trials):
        say(f"{how_many(len(trials) - len(ended), 'trial')} left out: stale, or not ended")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    say(f"{how_many(len(ended), 'trial')} in {target}, {size / 1e6:.1f} MB")


def _copy_trial(trial: StoredTrial, folder: Place) -> None:
    for name in RECORD_FILES:
        _copy(trial.folder / name, folder / name)
    if (trial.folder / STEPS_FILE).exists():
        # Without a time in its header, equal steps give equal files.
        write_atomic(folder / COMPRESSED_STEPS_FILE, gzip.compress((trial.folder / STEPS_FILE).read_bytes(), mtime=0))
    elif (trial.folder / COMPRESSED_STEPS_FILE).exists():
        _copy(trial.folder / COMPRESSED_STEPS_FILE, folder / COMPRESSED_STEPS_FILE)
    if (trial.folder / PREDICTIONS_FILE).exists():
        predictions = read_predictions(trial.folder)
        kept = predictions[predictions["epoch"].isin(_epochs_of_tables(trial))]
        buffer = BytesIO()
        kept.to_parquet(buffer, index=False, compression="zstd")
        write_atomic(folder / PREDICTIONS_FILE, buffer.getvalue())


def _epochs_of_tables(trial: StoredTrial) -> set[int]:
    """Return the epochs whose predictions tables can take: the last, the best on validation and the best on test."""
    metric = task_of(trial.spec.dataset).chooses_by
    found = {trial.epochs[-1].epoch} if trial.epochs else set()
    if trial.summary is not None and trial.summary.best_epoch is not None:
        found.add(trial.summary.best_epoch)
    scored = [
        (metric.sign * score, -record.epoch)
        for record in trial.epochs
        if (score := record.values().get(f"test_{metric.name}")) is not None
    ]
    return found | ({-max(scored)[1]} if scored else set())


def _copy_data(description: Place, folder: Place) -> bool:
    """Copy the description of a dataset, and its rows where they hold no text. Return whether all was copied."""
    _copy(description, folder / description.name)
    rows = description.with_suffix(".parquet")
    if not rows.exists():
        return True
    if json.loads(description.read_text(encoding="utf-8")).get("with_text") is not False:
        return False
    _copy(rows, folder / rows.name)
    return True


def _copy(source: Place, target: Place) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, source.read_bytes())
