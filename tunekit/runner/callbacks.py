"""Tells trackers and Ray's metrics what became of trials, from the store."""

from tunekit.runner import session  # noqa: F401  isort: skip  (sets what Ray reads at import)
from ray import tune
from ray.tune.experiment import Trial

from tunekit.runner.metrics import count_ended
from tunekit.runner.retries import specs_of
from tunekit.store.result_store import DamagedRecord, ResultStore
from tunekit.trackers.feed import Feeds


class Watched(tune.Callback):
    """Stands behind what writes summaries in the list of callbacks."""

    def __init__(self, store: ResultStore, feeds: Feeds) -> None:
        self.store, self.feeds = store, feeds

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tuner pickles itself for a restore that we do not use."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: object) -> None:
        """An epoch was recorded."""
        self.feeds.touch(specs_of(trial))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """A trial ended."""
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """A trial failed for good."""
        self._ended(trial)

    def _ended(self, trial: Trial) -> None:
        specs = specs_of(trial)
        self.feeds.touch(specs)
        for spec in specs:
            try:
                summary = self.store.read(self.store.folder(spec)).summary
            except (DamagedRecord, OSError):
                continue  # its end can't be read or was not written, which the console has said
            if summary:
                count_ended(spec, summary.status)
