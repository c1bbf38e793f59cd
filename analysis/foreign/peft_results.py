"""Results of PEFT's method_comparison: a JSON file a run, with the keys run_info, train_info and meta_info."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.foreign.trial import PREFIXES, Ended, Experiment, ForeignTrial, Kind, files_below, read_object
from analysis.foreign.values import flat
from tunekit.errors import UserError
from tunekit.schema import slug

KEYS = {
    "model": ("model_id",),
    "method": ("peft_type",),
    "seed": ("seed",),
    "train_loss": ("train loss",),
    "train_seconds": ("train_time",),
    "peak_memory_bytes": ("accelerator_memory_max", "cuda_memory_max"),
    "num_trainable_params": ("num_trainable_params",),
    "num_total_params": ("num_total_params",),
}
FULL = "full-finetuning"
"""PEFT's name for the method of a run without an adapter."""
_SPLITS = {"valid": "val", "test": "test"}
_IGNORED = ("auto_mapping", "base_model_name_or_path", "inference_mode", "revision", "megatron_*", "task_type")


def is_result(path: Path) -> bool:
    """Return whether a JSON file looks like such a result, by its first bytes."""
    with path.open("rb") as file:
        return b'"run_info"' in file.read(200)


def read_peft(place: Path) -> Experiment:
    """Return the runs of a result file, or of all of them below a folder. Raises UserError where there are none."""
    paths = [place] if place.is_file() else [
        folder / name for folder, files in files_below(place) for name in files if name.endswith(".json")
    ]  # fmt: skip
    trials = [_read(path) for path in paths if is_result(path)]
    if not trials:
        raise UserError(
            f"{place} holds no result of PEFT's method_comparison, a JSON file with run_info and train_info"
        )
    return Experiment(Kind.PEFT, place.resolve().name, trials, KEYS, PREFIXES, _IGNORED)


def _read(path: Path) -> ForeignTrial:
    content = read_object(path)
    try:
        run, train = content["run_info"], content["train_info"]
        config, adapter = run["train_config"], run.get("peft_config") or {"peft_type": FULL}
        rows = [_row(one) for one in train["metrics"]]
        params = flat(config) | flat(adapter)
        status, error = str(train["status"]), str(run.get("error_msg") or "").splitlines()
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise UserError(f"{path} is no result of PEFT's method_comparison ({fault!r})") from fault
    costs = {key: value for key, value in train.items() if not isinstance(value, list | dict)}
    rows = [*rows, costs] if rows else [costs]
    ended = Ended.COMPLETED if status == "success" else Ended.FAILED
    lines = (error or [status])[0] if ended is Ended.FAILED else None
    return ForeignTrial(path.stem, params, rows, ended, f"status {status!r}", lines, by_step=True)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the metrics; ``valid accuracy`` becomes ``val_accuracy``."""
    found = {}
    for key, value in row.items():
        split, _, name = str(key).partition(" ")
        known = _SPLITS.get(split)
        found[f"{known}_{re.sub('[^a-z0-9]+', '_', slug(name))}" if known and name else str(key)] = value
    return found
