"""``tunekit verify SWEEP`` trains a random part of the completed trials again and compares them with their records.

Numbers are compared bit for bit where the device, the number of threads, the processor and the version of torch are
those that the store names, and within TOLERANCE elsewhere. Nothing in the store is changed. A released store holds the
predictions of some epochs only, and only these are compared.
"""

import math
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from tunekit.data.base import DATASETS
from tunekit.data.copies import load_dataset
from tunekit.engine.job import Job
from tunekit.engine.run import TrialRun
from tunekit.errors import UserError, first_line
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, resolve_model
from tunekit.parsing import how_many
from tunekit.planning.fingerprints import fingerprint_of
from tunekit.schema import Fingerprint, Status, TrialSpec
from tunekit.storage.files import copy_folder
from tunekit.storage.paths import Place
from tunekit.store.records import CompletedTrial, StoredTrial, read_predictions
from tunekit.store.result_store import ResultStore
from tunekit.store.trial_files import COMPRESSED_STEPS_FILE, PREDICTIONS_FILE

TOLERANCE = 0.02
"""On another machine: the largest difference of a number, relative where the number is above 1, and the largest share
of predictions that may differ."""
MEASURED = ("epoch_seconds", "train_tokens_per_second", "peak_memory_bytes")
"""The fields of an epoch's record that are measured on a machine, which are not compared."""

Say = Callable[[str], None]
"""A function that shows a line to the user."""


def verify(root: Place, fraction: float, seed: int, say: Say) -> bool:
    """Train a part of the completed trials of the sweep in ``root`` again. Return whether all are as stored.

    The part is ``fraction`` of the trials, at least one, and is drawn with ``seed``. ``say`` is given a line for each
    trial. Raises UserError where no trial can be compared.
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
        completed = CompletedTrial.of(trial)
        reason = "imported" if completed is None else _why_not_comparable(completed, store)
        if reason or completed is None:
            say(f"not compared: {trial.spec.label} ({trial.folder.name}): {reason}")
        else:
            comparable.append(completed)
    if not comparable:
        raise UserError(f"{root} holds no completed trial that could be trained again here")
    chosen = random.Random(seed).sample(comparable, math.ceil(fraction * len(comparable)))
    results = [_is_same(trial, store, say) for trial in chosen]
    say(f"{sum(results)} of {len(chosen)} trials are as stored; {len(comparable)} could be compared")
    return all(results)


def _why_not_comparable(trial: CompletedTrial, store: ResultStore) -> str | None:
    """Return why ``trial`` can't be trained again here or would be another trial; None where it can be compared."""
    if trial.spec.model not in MODELS and "/" not in trial.spec.model:
        return "its model is a local folder, which the store does not hold"
    try:
        now = _fingerprint(trial.spec, trial.fingerprint, store)
    except UserError as error:
        return str(error)
    parts = trial.fingerprint.differs_in(now)
    return f"stale, made by other {', '.join(parts)}" if parts else None


def _fingerprint(spec: TrialSpec, stored: Fingerprint, store: ResultStore) -> Fingerprint:
    """Return the fingerprint that ``spec`` has with the present code and data."""
    is_users = spec.dataset not in DATASETS
    data = load_dataset(spec.dataset, store.data_folder) if is_users else DATASETS[spec.dataset]
    return fingerprint_of(spec, model_of(spec, stored).revision, data.content_hash)


def model_of(spec: TrialSpec, stored: Fingerprint) -> ModelRef:
    """Return the model of a trial: a registered one at its pinned revision, another one at the trial's revision."""
    return resolve_model(spec.model) if spec.model in MODELS else ModelRef(spec.model, stored.model)


def _is_same(trial: CompletedTrial, store: ResultStore, say: Say) -> bool:
    """Train ``trial`` again in a temporary folder, say how it compares, and return whether it is the same."""
    with tempfile.TemporaryDirectory(prefix="tunekit-verify-") as folder:
        again = trained_again(trial, store, Path(folder), model_of(trial.spec, trial.fingerprint))
        differences, how = compared(trial, again)
    parts = int(trial.summary.execution.get("micro_batches") or 1)
    if differences:
        hint = f"; epochs before memory ran out may have been trained in fewer than {parts} parts" if parts > 1 else ""
        say(f"DIFFERENT: {trial.spec.label}, {how}: {'; '.join(differences[:3])}{hint}")
    else:
        say(f"same: {trial.spec.label}, {how_many(len(trial.epochs), 'epoch')}, {how}")
    return not differences


def compared(trial: CompletedTrial, again: StoredTrial) -> tuple[list[str], str]:
    """Return a short text for each difference of a trial trained again, and how exactly both were compared."""
    is_exact = _execution(trial) == _execution(again)
    how = "bit for bit" if is_exact else f"within {TOLERANCE} (other device, threads, packs, processor or torch)"
    return _differences(trial, again, 0.0 if is_exact else TOLERANCE), how


def trained_again(
    trial: CompletedTrial, store: ResultStore, sweep: Path, model: ModelRef, keep_models: str = "none"
) -> StoredTrial:
    """Train the spec of ``trial`` in the new folder ``sweep`` and return the result.

    The number of threads and of parts of a batch are those of the stored trial. ``keep_models`` says of which epochs
    weights are kept.
    """
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


def _execution(trial: StoredTrial) -> tuple[Any, ...] | None:
    """Return the facts that must be equal for two trials to be equal bit for bit; None without a summary."""
    if trial.summary is None:
        return None
    provenance = trial.summary.provenance
    return trial.summary.execution, provenance.get("processor"), provenance.get("versions", {}).get("torch")


def _differences(old: StoredTrial, new: StoredTrial, tolerance: float) -> list[str]:
    """Return a short text for each number that differs by more than ``tolerance``."""
    found = []
    if len(old.epochs) != len(new.epochs):
        found.append(f"{how_many(len(old.epochs), 'epoch')} stored, {len(new.epochs)} trained")
    for stored, trained in zip(old.epochs, new.epochs, strict=False):
        values = trained.values()
        for name, value in stored.values().items():
            if name not in MEASURED and not _is_close(value, values.get(name), tolerance):
                found.append(f"epoch {trained.epoch}: {name} {value!r} is now {values.get(name)!r}")
    return found + _other_predictions(old.folder, new.folder, tolerance)


def _is_close(old: float | None, new: float | None, tolerance: float) -> bool:
    """Return whether two numbers are equal, or differ by at most ``tolerance``."""
    if old is None or new is None or not tolerance:
        return old == new
    return abs(old - new) <= tolerance * max(1.0, abs(old))


def _changed(old: pd.DataFrame, new: pd.DataFrame, tolerance: float) -> "pd.Series[bool]":
    """Return which predictions changed: labels that differ, numbers by more than ``tolerance`` of the gold's std."""
    if not pd.api.types.is_float_dtype(old["predicted"]):
        return old["predicted"] != new["predicted"]
    return (old["predicted"] - new["predicted"]).abs() > tolerance * old["gold"].std()


def _other_predictions(stored: Place, folder: Place, tolerance: float) -> list[str]:
    """Return a text where two trials predict other items or labels or, without tolerance, other logits."""
    if not any((trial / PREDICTIONS_FILE).exists() for trial in (stored, folder)):
        return []
    try:
        old, new = (read_predictions(trial) for trial in (stored, folder))
        # A trial of a released store has no predictions of the epochs that no table takes; it always has the last.
        released = set(old["epoch"]) if (stored / COMPRESSED_STEPS_FILE).exists() else set(new["epoch"])
        new = new[new["epoch"].isin(released | {new["epoch"].max()})].reset_index(drop=True)
        keys = ["split", "epoch", "item_id", "gold"]
        if not old[keys].equals(new[keys]):
            return ["other items stand in predictions.parquet"]
        changed = float(_changed(old, new, tolerance).mean())
        if changed > tolerance:
            return [f"{100 * changed:.2f} % of the predictions changed"]
        if not tolerance and not np.array_equal(np.stack(list(old["logits"])), np.stack(list(new["logits"]))):
            return ["the logits changed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"predictions.parquet can't be compared ({first_line(error)})"]
    return []
