"""Callbacks of Ray Tune: they record how trials end, let trials retry, and tell progress, trackers and metrics."""

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from tunekit.engine.end_trial import end_trial, log_line
from tunekit.engine.job import Job
from tunekit.runner.metrics import count_ended
from tunekit.runner.nodes import REFUSED
from tunekit.runner.progress import GridProgress
from tunekit.schema import Status, TrialSpec
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.trackers.feed import Feeds

MAX_FAILURES = 5
"""The number of times in a row that a trial is retried without a new epoch. A trial that advances is not given up."""


def specs_of(trial: Trial) -> list[TrialSpec]:
    """Return the specs that one of Tune's trials trains: one in a grid, one for each search seed in a search."""
    values = trial.config["trial"]
    rows = values["specs"] if "specs" in values else [{k: v for k, v in values.items() if k != "trial_id"}]
    return [TrialSpec.from_dict(row) for row in rows]


def trial_id(trial: Trial) -> str:
    """Return our id of one of Tune's trials of a grid."""
    found: str = trial.config["trial"]["trial_id"]
    return found


def reason(trial: Trial) -> str:
    """Return the error that broke off the trial's last attempt: the last line of its newest traceback."""
    # Tune writes this file at once; Tune's own ``get_error`` reads a copy in the storage, which comes later.
    text = Path(trial.error_file).read_text(encoding="utf-8").strip() if trial.error_file else ""
    return shorten((text.splitlines() or ["no reason given"])[-1], 200, placeholder=" ...")


class StatelessCallback(tune.Callback):
    """A callback without pickled state: Tune saves callbacks for a restore that we do not use."""

    def __getstate__(self) -> dict[str, object]:
        """Return nothing: a live display, for one, can't be pickled."""
        return {}


class RecordCallback(StatelessCallback):
    """Tells the progress of a grid, and writes the summary of a trial that a scheduler stopped or Tune gave up."""

    def __init__(self, jobs: Mapping[str, Job], progress: GridProgress) -> None:
        self.jobs, self.progress = jobs, progress

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Tell that a trial has begun, or begun again."""
        self.progress.started(trial_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object
    ) -> None:
        """Tell that a trial has trained an epoch or ended."""
        self.progress.epoch(trial_id(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Write the summary of a trial that a scheduler stopped. A trial that its node refused gets none."""
        if REFUSED not in trial.last_result:
            self._record_end(self.jobs[trial_id(trial)], Status.STOPPED, "stopped by the scheduler")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Write the summary of a trial that has failed for good."""
        self._record_end(self.jobs[trial_id(trial)], Status.FAILED, reason(trial))

    def _record_end(self, job: Job, status: Status, error: str) -> None:
        """Write a summary if the trial has none. A store that can't be written must not stop the other trials."""
        try:
            found = _summary_status(job) or end_trial(job, status, error).status
        except OSError as problem:
            self.progress.note(f"{job.spec.label}: {error}; its summary can't be written ({problem})")
            found = status
        self.progress.ended(job.spec.trial_id, found)


class RetryCallback(StatelessCallback):
    """Tells the notes of trials and why attempts broke off. A new epoch gives a trial all its retries again."""

    def __init__(self, store: ResultStore, note: Callable[[str], None]) -> None:
        self.store, self.note = store, note
        self._cut_lines: set[str] = set()
        """The lines on cut texts that were shown."""
        self._num_retries: dict[str, int] = {}
        self._epochs: dict[str, int] = {}
        """The furthest epoch that each trial has reached, by Tune's trial id."""

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Tell that an attempt broke off; Tune has queued the trial again."""
        number = self._num_retries[trial.trial_id] = self._num_retries.get(trial.trial_id, 0) + 1
        line = f"attempt {number} broke off ({reason(trial)}); the next goes on from the last checkpoint"
        for spec in specs_of(trial):
            log_line(self.store.folder(spec), line)
        self.note(f"{trial}: {line}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Drop the last results that Tune keeps of the trial: they take most of a trial's memory in the driver."""
        trial.run_metadata.metric_n_steps = {}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object
    ) -> None:
        """Show the notes of a result; after a new epoch, reset the trial's number of failures."""
        if result.get("note"):
            self.note(f"{trial}: {result['note']}")
        if (line := result.get("cut")) and line not in self._cut_lines:
            self._cut_lines.add(line)
            self.note(line)
        if (result.get("epoch") or 0) > self._epochs.get(trial.trial_id, 0):
            self._epochs[trial.trial_id] = result["epoch"]
            trial.run_metadata.num_failures = 0


class TrackerCallback(StatelessCallback):
    """Sends records to trackers and counts ended trials in Ray's metrics.

    It must stand behind callbacks that write summaries in the list of callbacks, since it reads the summaries.
    """

    def __init__(self, store: ResultStore, feeds: Feeds) -> None:
        self.store, self.feeds = store, feeds

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: object
    ) -> None:
        """Have the new epoch sent to the trackers."""
        self.feeds.add(specs_of(trial))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Count a trial that has ended."""
        self._count(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """Count a trial that has failed for good."""
        self._count(trial)

    def _count(self, trial: Trial) -> None:
        specs = specs_of(trial)
        self.feeds.add(specs)
        for spec in specs:
            try:
                summary = self.store.read(self.store.folder(spec)).summary
            except (DamagedRecord, OSError):
                continue  # the console has said that the summary was not written or can't be read
            if summary:
                count_ended(spec, summary.status)


def _summary_status(job: Job) -> Status | None:
    """Return the status in the trial's summary; None if there is no summary that can be read."""
    store = ResultStore(job.sweep)
    try:
        summary = store.read(store.folder(job.spec)).summary
    except DamagedRecord:
        return None
    return summary.status if summary else None
