"""``python -m tunekit verify SWEEP``: a random part of the completed trials, trained again and compared.

On the device, thread count, processor and torch that the store names, numbers are compared bit for bit; elsewhere
within TOLERANCE. Nothing in the store is changed.
"""

import math
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunekit.data.base import DATASETS, load_dataset
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.errors import UserError, first_line
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import Fingerprint, Status, TrialSpec
from tunekit.storage.files import copy_folder
from tunekit.storage.paths import Place
from tunekit.store.records import StoredTrial, read_predictions
from tunekit.store.result_store import ResultStore

TOLERANCE = 0.02
"""Largest difference of a number (above 1: relative) and largest share of other predictions, on another machine."""
TIMED = ("epoch_seconds", "train_tokens_per_second", "peak_memory_bytes")
"""What a clock or the machine puts into a record."""

Say = Callable[[str], None]


def verify(root: Place, fraction: float, seed: int, say: Say) -> bool:
    """Train ``fraction`` of the completed trials again, at least one, drawn by ``seed``; a line each.

    Returns whether all are as stored. Raises UserError where there is nothing to compare.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction must lie in (0, 1], got {fraction}")
    store = ResultStore(root)
    trials, damaged = store.trials()
    for line in damaged:
        say(f"damaged, not compared: {line}")
    comparable = []
    for trial in trials:
        if trial.summary is None or trial.summary.status is not Status.COMPLETED:
            continue
        reason = _why_not(trial, store)
        if reason:
            say(f"not compared: {trial.spec.label} ({trial.folder.name}): {reason}")
        else:
            comparable.append(trial)
    if not comparable:
        raise UserError(f"{root} holds no completed trial that could be trained again here")
    chosen = random.Random(seed).sample(comparable, math.ceil(fraction * len(comparable)))
    same = [_same(trial, store, say) for trial in chosen]
    say(f"{sum(same)} of {len(chosen)} trials are as stored; {len(comparable)} could be compared")
    return all(same)


def _why_not(trial: StoredTrial, store: ResultStore) -> str | None:
    """Why ``trial`` can't be trained again here, or would not be the same one; None where it can."""
    if not isinstance(trial.spec, TrialSpec):
        return "imported"
    if trial.spec.model not in MODELS and "/" not in trial.spec.model:
        return "its model is a local folder, which the store does not hold"
    try:
        now = _fingerprint(trial.spec, trial.fingerprint, store)
    except UserError as error:
        return str(error)
    parts = trial.fingerprint.differs_in(now)
    return f"stale, made by other {', '.join(parts)}" if parts else None


def _fingerprint(spec: TrialSpec, stored: Fingerprint, store: ResultStore) -> Fingerprint:
    """The spec's fingerprint on the code and data at hand."""
    own = spec.dataset not in DATASETS
    data = load_dataset(spec.dataset, store.data_folder) if own else DATASETS[spec.dataset]
    return fingerprint_of(spec, model_of(spec, stored).revision, data.content_hash)


def model_of(spec: TrialSpec, stored: Fingerprint) -> ModelRef:
    """A registered model at its pinned revision, one of the hub at the revision that the trial had."""
    return resolve_model(spec.model) if spec.model in MODELS else ModelRef(spec.model, stored.model)


def _same(trial: StoredTrial, store: ResultStore, say: Say) -> bool:
    """Train ``trial`` again in a temporary folder and say how it compares."""
    with tempfile.TemporaryDirectory(prefix="tunekit-verify-") as folder:
        again = trained_again(trial, store, Path(folder), model_of(trial.spec, trial.fingerprint))
        found, how = compared(trial, again)
    parts = int(trial.summary.execution.get("micro_batches") or 1)
    if found:
        hint = f"; epochs before memory ran out may have been trained in fewer than {parts} parts" if parts > 1 else ""
        say(f"DIFFERENT: {trial.spec.label}, {how}: {'; '.join(found[:3])}{hint}")
    else:
        say(f"same: {trial.spec.label}, {len(trial.epochs)} epochs, {how}")
    return not found


def compared(trial: StoredTrial, again: StoredTrial) -> tuple[list[str], str]:
    """What differs between ``trial`` and the same ``again``, a short text each, and how exactly that was looked at."""
    exact = _execution(trial) == _execution(again)
    how = "bit for bit" if exact else f"within {TOLERANCE} (other device, threads, packs, processor or torch)"
    return _differences(trial, again, 0.0 if exact else TOLERANCE), how


def trained_again(
    trial: StoredTrial, store: ResultStore, sweep: Path, model: ModelRef, keep_models: str = "none"
) -> StoredTrial:
    """The trial's spec, trained in a new store at ``sweep`` with as many threads and parts of a batch as it had."""
    if store.data_folder.is_dir():
        copy_folder(store.data_folder, sweep / "data")
    execution = trial.summary.execution
    device = "cuda" if execution.get("device") != "cpu" and torch.cuda.is_available() else "cpu"
    threads, parts = (int(execution.get(name) or 1) for name in ("threads", "micro_batches"))
    job = Job(
        trial.spec, trial.fingerprint, model, sweep, 0, threads, device, micro_batches=parts, keep_models=keep_models
    )
    run = TrialRun(job, lambda line: None)
    while not run.done:
        run.train_epoch()
    run.finish()
    return ResultStore(sweep).read(run.folder)


def _execution(trial: StoredTrial) -> tuple[Any, ...]:
    """What has to be equal for equal bits."""
    where = trial.summary.provenance
    return trial.summary.execution, where.get("processor"), where.get("versions", {}).get("torch")


def _differences(old: StoredTrial, new: StoredTrial, tolerance: float) -> list[str]:
    """What differs by more than ``tolerance``, a short text each."""
    found = []
    if len(old.epochs) != len(new.epochs):
        found.append(f"{len(old.epochs)} epochs are stored, {len(new.epochs)} trained")
    for stored, trained in zip(old.epochs, new.epochs, strict=False):
        values = asdict(trained)
        for name, value in asdict(stored).items():
            if name not in TIMED and not _close(value, values[name], tolerance):
                found.append(f"epoch {trained.epoch}: {name} {value!r} is now {values[name]!r}")
    return found + _other_predictions(old.folder, new.folder, tolerance)


def _close(old: float | None, new: float | None, tolerance: float) -> bool:
    if old is None or new is None or not tolerance:
        return old == new
    return abs(old - new) <= tolerance * max(1.0, abs(old))


def _other_predictions(stored: Place, folder: Place, tolerance: float) -> list[str]:
    """Whether the two predictions.parquet differ: in which items, or in more than ``tolerance`` of the labels."""
    if not any((one / "predictions.parquet").exists() for one in (stored, folder)):
        return []
    try:
        old, new = (read_predictions(one) for one in (stored, folder))
        keys = ["split", "epoch", "item_id", "gold"]
        if not old[keys].equals(new[keys]):
            return ["other items stand in predictions.parquet"]
        changed = float((old["predicted"] != new["predicted"]).mean())
        if changed > tolerance:
            return [f"{100 * changed:.2f} % of the predictions changed"]
        if not tolerance and not np.array_equal(np.stack(old["logits"]), np.stack(new["logits"])):
            return ["the logits changed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"predictions.parquet can't be compared ({first_line(error)})"]
    return []
