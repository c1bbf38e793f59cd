"""Trackers that people already use, fed from the store: TensorBoard, MLflow, Weights & Biases. Off unless asked for."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from tunekit.errors import UserError
from tunekit.schema import EpochRecord, Scalar
from tunekit.store.result_store import StoredTrial

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
"""The module that each tracker needs, by the name that --track takes."""


class Tracker(Protocol):
    """Where trials are shown. Called from one thread; whatever it raises is said once and harms no trial."""

    def sync(self, trial: StoredTrial) -> None:
        """Bring what is tracked of ``trial`` to what the store holds. A second call with the same adds nothing."""

    def close(self) -> None:
        """Write what is held back."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError on a name that is no tracker's, or whose package is missing."""
    for name in names:
        if name not in PACKAGES:
            raise UserError(f"unknown tracker {name!r}; there are {', '.join(PACKAGES)}")
        if find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"--track {name} needs the package {PACKAGES[name]}, which is not installed: "
                'pip install -c constraints.txt -e ".[tracking]"'
            )


def maker_of(name: str, sweep: Path) -> Callable[[], Tracker]:
    """What makes the tracker ``name`` of the sweep in folder ``sweep``; called in its thread, for it imports."""

    def make() -> Tracker:
        if name == "tensorboard":
            from tunekit.trackers.tensorboard import TensorBoardTracker

            return TensorBoardTracker(sweep)
        if name == "mlflow":
            from tunekit.trackers.mlflow import MLflowTracker

            return MLflowTracker(sweep)
        from tunekit.trackers.wandb import WandbTracker

        return WandbTracker(sweep)

    return make


def run_name(trial: StoredTrial) -> str:
    """``roberta · restaurant · lora · seed 3 · 3c4d749b``: the label, and what tells trials of other settings apart."""
    return f"{trial.spec.label} · {trial.spec.trial_id[:8]}"


def run_key(trial: StoredTrial) -> str:
    """What a tracked run is found by again: the same trial by other code or data is another run."""
    return f"{trial.spec.trial_id}-{trial.fingerprint.digest}"


def parameters(trial: StoredTrial) -> dict[str, Scalar]:
    """The spec, flat, without fields that are null; the method's parameters by their own names behind the method's."""
    values = trial.spec.to_dict()
    extra = values.pop("method_params", {}) | values.pop("settings", {})
    flat = {**values, **{f"{trial.spec.method}.{name}": value for name, value in extra.items()}}
    return {name: value for name, value in flat.items() if value is not None} | {"trial_id": trial.spec.trial_id}


def metrics(record: EpochRecord) -> dict[str, float]:
    """The measured values of an epoch, by their names in the schema."""
    return {name: value for name, value in asdict(record).items() if value is not None and name != "epoch"}


def results(trial: StoredTrial) -> dict[str, float]:
    """The numbers of the summary of a trial that ended: last scores, parameters, seconds, peak memory."""
    summary = trial.summary
    if summary is None:
        return {}
    names = ("num_trainable_params", "num_total_params", "train_seconds", "peak_memory_bytes")
    values = {f"final_{name}": value for name, value in summary.final_scores.items()}
    values |= {name: getattr(summary, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
