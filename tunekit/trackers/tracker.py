"""What a tracker of experiments is, and how a stored trial is named and described in one."""

from dataclasses import asdict
from typing import Protocol

from tunekit.schema import EpochRecord, Scalar
from tunekit.store.records import StoredTrial


class Tracker(Protocol):
    """Where trials are shown. Called from one thread; whatever it raises is said once and harms no trial."""

    def sync(self, trial: StoredTrial) -> None:
        """Bring what is tracked of ``trial`` to what the store holds. A second call with the same adds nothing."""

    def close(self) -> None:
        """Write what is held back."""


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
