"""The interface of trackers, and the name and the description of a stored trial in a tracker."""

from typing import Protocol

from tunekit.schema import EpochRecord, Scalar
from tunekit.store.records import StoredTrial


class Tracker(Protocol):
    """A program that shows trials. One thread calls it. An error that it raises is said once and harms no trial."""

    def sync(self, trial: StoredTrial) -> None:
        """Send the records of ``trial`` that the tracker lacks. A second call with the same trial sends nothing."""

    def close(self) -> None:
        """Write everything that is buffered."""


def run_name(trial: StoredTrial) -> str:
    """Return the trial's names and the start of its id: ``roberta · restaurant · lora · seed 3 · 3c4d749b``."""
    # Not the label: TensorBoard's folders have these names, and stored names stay.
    spec = trial.spec
    return f"{spec.model} · {spec.dataset} · {spec.method} · seed {spec.seed} · {spec.trial_id[:8]}"


def run_key(trial: StoredTrial) -> str:
    """Return the key that a trial is found by. A trial of the same spec from other code or data has another key."""
    return f"{trial.spec.trial_id}-{trial.fingerprint.digest}"


def parameters(trial: StoredTrial) -> dict[str, Scalar]:
    """Return the fields of the spec that are not None, and the id of the trial.

    A hyperparameter of the method has the name of the method before its own: ``lora.r``.
    """
    values = trial.spec.to_dict()
    extra = values.pop("method_params", {}) | values.pop("settings", {})
    flat = {**values, **{f"{trial.spec.method}.{name}": value for name, value in extra.items()}}
    return {name: value for name, value in flat.items() if value is not None} | {"trial_id": trial.spec.trial_id}


def metrics(record: EpochRecord) -> dict[str, float]:
    """Return the values of an epoch that are not None, by the names of EpochRecord."""
    return {name: value for name, value in record.values().items() if value is not None and name != "epoch"}


def results(trial: StoredTrial) -> dict[str, float]:
    """Return the last scores, the numbers of parameters, the seconds and the peak memory of a trial that has ended."""
    summary = trial.summary
    if summary is None:
        return {}
    names = ("num_trainable_params", "num_total_params", "train_seconds", "peak_memory_bytes")
    values = {f"final_{name}": value for name, value in summary.final_scores.items()}
    values |= {name: getattr(summary, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}
