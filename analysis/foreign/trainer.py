"""Output folders of transformers' Trainer, read from JSON files and the model card.

``training_args.bin`` is not read, because it is a pickle. A run's log is ``trainer_state.json`` in its folder, or in
its newest checkpoint where the folder has none.
"""

import re
from collections.abc import Mapping
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
    files_below,
    read_object,
    read_text,
)
from analysis.foreign.values import flat
from tunekit.errors import UserError

STATE = "trainer_state.json"
ARGUMENTS = "training_args.json"
"""The file for the text of ``TrainingArguments.to_json_string``; Trainer itself writes no such file."""
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_CARD = re.compile(r"^### Training hyperparameters$(.*?)^#", re.S | re.M)
_HYPERPARAMETER = re.compile(r"^- (\w+): (.*)$", re.M)
_NOT_METRICS = re.compile(r".*(_runtime|_per_second|_time|_flos|_samples|_mem_\w+)")
_OF_STATE = ("num_train_epochs", "train_batch_size")
_RESULTS = ("all_results.json", "test_results.json", "predict_results.json")
_HINT = (
    f"; training_args.bin is a pickle, which is not read: write args.to_json_string() to {ARGUMENTS} in the folder of "
    "each run, or call trainer.create_model_card()"
)
KEYS = {
    "model": ("model_name_or_path", "base_model_name_or_path", "_name_or_path"),
    "method": ("peft_type",),
    "seed": ("seed",),
    "train_loss": ("loss",),
    "train_seconds": ("train_runtime",),
}


def read_trainer(folder: Path) -> Experiment:
    """Return all runs below ``folder``, by path. Raises UserError where there are none or a file can't be read."""
    runs: dict[Path, list[tuple[int, Path]]] = {}
    for place, files in files_below(folder):
        if STATE in files:
            step = _CHECKPOINT.fullmatch(place.name)
            # The state in the folder itself is newer than that of each checkpoint.
            runs.setdefault(place.parent if step else place, []).append((int(step[1]) if step else 2**62, place))
    if not runs:
        raise UserError(f"{folder} holds no run of Trainer: no folder below it has a {STATE}")
    trials = [_read(folder, run, max(states)[1]) for run, states in sorted(runs.items())]
    return Experiment(Kind.TRAINER, folder.resolve().name, trials, KEYS, PREFIXES, MACHINERY, hint=_HINT)


def _read(folder: Path, run: Path, place: Path) -> ForeignTrial:
    state = read_object(place / STATE)
    log = state.get("log_history")
    if not isinstance(log, list) or not all(isinstance(one, dict) for one in log) or len(log) > MAX_ROWS:
        raise UserError(f"{place / STATE} has no log_history; mend it, or move the run away")
    rows: list[Mapping[str, Any]] = [_metrics(one) for one in log]
    rows += [_metrics(found) for name in _RESULTS if (found := _object_at(run / name))]
    ended, reason = _end(state, log)
    return ForeignTrial(
        name=str(run.relative_to(folder)) if run != folder else run.resolve().name,
        params=_params(run, place, state),
        rows=rows,
        ended=ended,
        reason=reason,
        by_step=True,
    )


def _metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the log without its speeds and without ``train_loss``, which is the mean over the run."""
    kept = {key: value for key, value in flat(row).items() if not _NOT_METRICS.fullmatch(key) and key != "train_loss"}
    return kept | ({"train_runtime": row["train_runtime"]} if "train_runtime" in row else {})


def _end(state: Mapping[str, Any], log: list[dict[str, Any]]) -> tuple[Ended, str]:
    step, planned = state.get("global_step"), state.get("max_steps")
    if any("train_runtime" in row for row in log):
        return Ended.COMPLETED, "train_runtime in its log, which Trainer writes when training ends"
    if isinstance(step, int) and isinstance(planned, int) and step >= planned > 0:
        return Ended.COMPLETED, "its newest checkpoint is that of the last step"
    callbacks = flat(state.get("stateful_callbacks") or {})
    if callbacks.get("TrainerControl/args/should_training_stop") is True:
        return Ended.COMPLETED, "its newest checkpoint says that training was to stop (early stopping)"
    return Ended.RUNNING, f"its newest checkpoint is step {step} of {planned}"


def _params(run: Path, place: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a run, from the state, the model, the adapter, the model card and training_args.json.

    A later source takes precedence over an earlier one.
    """
    found = {name: state[name] for name in _OF_STATE if name in state}
    if isinstance(state.get("trial_params"), dict):
        found |= state["trial_params"]
    config = _object_at(run / "config.json") or _object_at(place / "config.json")
    found |= {name: config[name] for name in ("_name_or_path", "model_type") if config.get(name)}
    found |= flat(_object_at(run / "adapter_config.json") or _object_at(place / "adapter_config.json"))
    card = _CARD.search(read_text(run / "README.md"))
    found |= dict(_HYPERPARAMETER.findall(card[1])) if card else {}
    return found | flat(_object_at(run / ARGUMENTS) or _object_at(place / ARGUMENTS))


def _object_at(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one where there is no file."""
    return read_object(path) if path.exists() else {}
