"""Tells trackers and Ray's metrics what became of trials, from the store."""

from collections.abc import Callable
from pathlib import Path
from textwrap import shorten

from ray import tune
from ray.tune.experiment import Trial

from tunekit.runner.metrics import count_ended
from tunekit.schema import TrialSpec
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.trackers.feed import Feeds
from tunekit.worker.attempt import log_line

MAX_FAILURES = 5
"""Retries in a row without a new epoch, of a trial whose process died or raised; one that advances is not given up."""


class RetryCallback(tune.Callback):
    """Tells why an attempt of a trial broke off and that another follows; a new epoch gives it all its retries back."""

    def __init__(self, store: ResultStore, note: Callable[[str], None]) -> None:
        self.store, self.note = store, note
        self.attempts: dict[str, int] = {}
        self.epochs: dict[str, int] = {}

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tuner pickles itself for a restore that we do not use."""
        return {}

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """An attempt broke off and the trial is queued again."""
        number = self.attempts[trial.trial_id] = self.attempts.get(trial.trial_id, 0) + 1
        line = f"attempt {number} broke off ({reason(trial)}); the next goes on from the last checkpoint"
        for spec in specs_of(trial):
            log_line(self.store.folder(spec), line)
        self.note(f"{trial}: {line}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """It ended: let go of what Tune keeps of its last results, most of what it keeps of a trial."""
        trial.run_metadata.metric_n_steps = {}

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: object) -> None:
        """An epoch, or the end."""
        if result.get("note"):
            self.note(f"{trial}: {result['note']}")
        if (result.get("epoch") or 0) > self.epochs.get(trial.trial_id, 0):
            self.epochs[trial.trial_id] = result["epoch"]
            trial.run_metadata.num_failures = 0


def reason(trial: Trial) -> str:
    """The error itself: the last line of the trial's newest traceback."""
    # Tune writes it here at once, and to the storage, where its own ``get_error`` looks, later.
    text = Path(trial.error_file).read_text(encoding="utf-8").strip() if trial.error_file else ""
    return shorten((text.splitlines() or ["no reason given"])[-1], 200, placeholder=" ...")


def specs_of(trial: Trial) -> list[TrialSpec]:
    """The specs that one of Tune's trials trains: its own, or a configuration's."""
    values = trial.config["trial"]
    rows = values["specs"] if "specs" in values else [{k: v for k, v in values.items() if k != "trial_id"}]
    return [TrialSpec.from_dict(row) for row in rows]


class TrackerCallback(tune.Callback):
    """Stands behind what writes summaries in the list of callbacks."""

    def __init__(self, store: ResultStore, feeds: Feeds) -> None:
        self.store, self.feeds = store, feeds

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tuner pickles itself for a restore that we do not use."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: object) -> None:
        """An epoch was recorded."""
        self.feeds.add(specs_of(trial))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """A trial ended."""
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """A trial failed for good."""
        self._ended(trial)

    def _ended(self, trial: Trial) -> None:
        specs = specs_of(trial)
        self.feeds.add(specs)
        for spec in specs:
            try:
                summary = self.store.read(self.store.folder(spec)).summary
            except (DamagedRecord, OSError):
                continue  # its end can't be read or was not written, which the console has said
            if summary:
                count_ended(spec, summary.status)
