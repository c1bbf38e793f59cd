"""The records of sweeps as tidy DataFrames, with one row for each epoch or trial and one column for each setting."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from analysis.sweep_records import SweepRecords
from tunekit.schema import EpochRecord, TrialSpec, with_later_fields
from tunekit.store.ending import is_stopped_by_patience

EPOCH_FIELDS = {
    item.name: "epoch_learning_rate" if item.name == "learning_rate" else item.name for item in fields(EpochRecord)
}
"""The column of each field of EpochRecord; its learning rate is not the setting, which is the peak."""
SCORES = ("train_loss", *(name for name in EPOCH_FIELDS if name.startswith(("val_", "test_", "best_val_"))))
"""The losses and scores of an epoch; a trial has those of its last epoch."""
OUTCOME = ("status", "num_epochs", "best_epoch")
BY_PATIENCE = "stopped_by_patience"
"""The column that says whether patience has stopped a trial. It is there where some trial has patience."""
FIT = ("fit_loss", "fit_accuracy", "fit_micro_f1", "fit_macro_f1")
COSTS = (
    "num_trainable_params", "num_total_params", "train_seconds", "peak_memory_bytes", "predicted_memory_bytes",
)  # fmt: skip
IDENTITY = ("sweep", "trial_id", "model", "dataset", "method", "seed")
SETTINGS = tuple(item.name for item in fields(TrialSpec) if item.name not in (*IDENTITY, "method_params"))
RESERVED = {*IDENTITY, *EPOCH_FIELDS.values(), *OUTCOME, BY_PATIENCE, *FIT, *COSTS, "error"}
"""The names that no column of a setting may have. An imported experiment may have a setting of such a name."""


def tidy_epochs(records: SweepRecords) -> pd.DataFrame:
    """Return one row an epoch: the trial's identity and settings, then the fields of EpochRecord."""
    trials = _identified(records.trials)
    place = pd.Index(records.trials["path"]).get_indexer(records.epochs["path"])  # the row of each epoch's trial
    further = further_scores(records)
    epochs = records.epochs[[*EPOCH_FIELDS, *further]].rename(columns=EPOCH_FIELDS).reset_index(drop=True)
    return pd.concat([trials.take(place).reset_index(drop=True), _plain_integers(epochs)], axis=1)


def tidy_trials(records: SweepRecords) -> pd.DataFrame:
    """Return one row a trial: identity and settings, how it ended, scores of its last epoch, costs and error."""
    last = records.epochs[~records.epochs["path"].duplicated(keep="last")]  # a trial's epochs are in order
    scores = (
        last.set_index("path")[[*SCORES, *further_scores(records)]]
        .reindex(records.trials["path"])
        .reset_index(drop=True)
    )
    ended = records.trials[[*OUTCOME, *FIT, *COSTS, "error"]].astype({"status": "category"})
    outcome = ended[list(OUTCOME)]
    settings = [json.loads(key) for key in records.trials["cell"]]
    if any(one.get("patience") is not None for one in settings):
        ends = zip(settings, outcome["status"].astype(object), outcome["num_epochs"].astype(object), strict=True)
        stopped = [pd.notna(status) and is_stopped_by_patience(one, status, epochs) for one, status, epochs in ends]
        outcome.insert(1, BY_PATIENCE, pd.Series(stopped, outcome.index, dtype=bool))
    parts = [outcome, scores, ended[[*FIT, *COSTS, "error"]]]
    return pd.concat([_identified(records.trials), *(_plain_integers(part) for part in parts)], axis=1)


def further_scores(records: SweepRecords) -> list[str]:
    """Return the columns of the scores that EpochRecord has no field for, which imported trials may have."""
    return [name for name in records.epochs.columns if name not in (*EPOCH_FIELDS, "folder", "path")]


def _identified(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the identity and the settings of each trial, index 0..n-1."""
    codes, keys = pd.factorize(trials["cell"])  # the settings are those of the cell: they are read once a cell
    settings = _settings_frame([json.loads(key) for key in keys]).take(codes).reset_index(drop=True)
    named = dict.fromkeys(("sweep", "model", "dataset", "method"), "category")
    identity = trials[list(IDENTITY)].reset_index(drop=True).astype(named)
    return pd.concat([_plain_integers(identity), settings], axis=1)


def _settings_frame(specs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a cell and one column a setting."""
    # A field of LATER_FIELDS has a column where some cell has another value than its default.
    names = dict.fromkeys(name for spec in specs for name in _settings(spec))
    rows = [_settings(with_later_fields(spec)) for spec in specs]
    # The settings of TrialSpec come first, in its order; then the methods' hyperparameters as they appear.
    ordered = [name for name in SETTINGS if name in names] + [name for name in names if name not in SETTINGS]
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in ordered}, index=range(len(rows)))


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a cell by column: ``learning_rate``, ``lora.r``."""
    plain = {name: value for name, value in spec.items() if name not in (*IDENTITY, "method_params", "settings")}
    params = {f"{spec['method']}.{name}": value for name, value in spec.get("method_params", {}).items()}
    imported = {(f"config/{name}" if name in RESERVED else name): v for name, v in spec.get("settings", {}).items()}
    return {**plain, **params, **imported}


def _column(values: Sequence[Any]) -> "pd.Series[Any]":
    """Return ``values`` with the type that all of them have: whole numbers stay whole beside missing values."""
    kinds = {type(value) for value in values if value is not None}
    missing = any(value is None for value in values)
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if missing else "bool")
    if kinds <= {int}:  # a setting that no trial has, such as train_limit, is a missing number
        return pd.Series(values, dtype="Int64" if missing else "int64")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="category" if kinds == {str} else "object")


def _plain_integers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame`` with int64 in place of Int64 in columns without missing values."""
    whole = [name for name, kind in frame.dtypes.items() if kind == "Int64" and not frame[name].hasnans]
    return frame.astype(dict.fromkeys(whole, "int64"))
