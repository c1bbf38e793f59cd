"""A grid of empty trials: the real path of ``run_grid`` (lease, actors, store, display), with nothing to compute.

Only the run in the actor is replaced, by one that writes the records of each epoch and the summary.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd

from tunekit.commands.console import Progress
from tunekit.engine.job import Job
from tunekit.engine.summary import BuildFacts, summarise
from tunekit.methods.base import complete_params
from tunekit.models.loading import resolve_model
from tunekit.planning.blocks import Block
from tunekit.planning.plan import plan_sweep
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.resources import Resources
from tunekit.runner import grid
from tunekit.runner.trainables import TrialTrainable
from tunekit.schema import EpochRecord, Status, TrialSpec, TrialSummary
from tunekit.storage.lease import acquire, check_current
from tunekit.store.result_store import ResultStore
from tunekit.tasks import task_of
from tunekit.worker import attempt

MODEL, DATASET, METHOD = "tiny-bert", "demo", "full"


class EmptyRun:
    """Stands in for ``TrialRun``: it writes what a trial with a sealed test split writes, with one step an epoch."""

    def __init__(self, job: Job, log: Callable[[str], None]) -> None:
        check_current(job.sweep, job.start)
        self.job, self.store = job, ResultStore(job.sweep)
        self.records: list[EpochRecord] = []
        self.folder = self.store.open_trial(job.spec, job.fingerprint)
        self.facts = BuildFacts(0, 0, None, {"pack_size": 1})
        log(f"{job.spec.label}: epoch 1 of {job.spec.epochs} begins")

    @property
    def done(self) -> bool:
        """Whether all epochs are recorded."""
        return len(self.records) >= self.job.spec.epochs

    def train_epoch(self) -> None:
        """Write the records of the next epoch."""
        check_current(self.job.sweep, self.job.start)
        unscored = dict.fromkeys(task_of(DATASET).score_names)
        epoch = len(self.records) + 1
        self.records.append(
            EpochRecord(
                epoch=epoch, step=epoch, train_loss=1 / epoch, **unscored, best_val_macro_f1=None, learning_rate=0.0,
                epoch_seconds=0.0, train_tokens_per_second=0.0, peak_memory_bytes=0,
            )
        )  # fmt: skip
        steps = range(1, epoch + 1)
        frame = pd.DataFrame({"epoch": steps, "step": steps, "train_loss": 1.0, "learning_rate": 0.0})
        self.store.write_steps(self.folder, frame)
        self.store.write_epochs(self.folder, self.records)

    def finish(self) -> TrialSummary:
        """Write the trial's summary and return it."""
        check_current(self.job.sweep, self.job.start)
        summary = summarise(self.records, Status.COMPLETED, task=task_of(DATASET), facts=self.facts)
        self.store.write_summary(self.folder, summary)
        return summary


class EmptyTrainable(TrialTrainable):
    """The grid's trainable over ``EmptyRun``."""

    def setup(self, *arguments: Any, **options: Any) -> None:
        """Put ``EmptyRun`` in the place of ``TrialRun`` for as long as this actor's process lives."""
        mock.patch.object(attempt, "TrialRun", EmptyRun).start()
        super().setup(*arguments, **options)


Ends = list[float]
"""The times, in seconds, at which trials ended, in order."""


class Timed(Progress):
    """The grid's display, which also notes when each trial ends and what ``measure()`` gives then."""

    measure: Callable[[], Any] = staticmethod(lambda: None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ends: Ends = []
        self.measured: list[Any] = []

    def ended(self, trial_id: str, status: Status) -> None:
        """Note that a trial ended."""
        super().ended(trial_id, status)
        self.ends.append(time.perf_counter())
        self.measured.append(self.measure())


def specs_of(num_trials: int, epochs: int, seeds: int = 5) -> list[TrialSpec]:
    """Return trials in cells of ``seeds`` trials; cells differ in their learning rate. The test split is sealed."""
    params = complete_params(METHOD, {})
    return [
        TrialSpec(
            model=MODEL, dataset=DATASET, method=METHOD, method_params=params, seed=number % seeds,
            learning_rate=1e-4 * (1 + number // seeds), epochs=epochs, score_test=False,
        )
        for number in range(num_trials)
    ]  # fmt: skip


def sweep_of(specs: Sequence[TrialSpec]) -> ResolvedSweep:
    """Return the resolved sweep of a grid of ``specs``."""
    block = Block(models=(MODEL,), datasets=(DATASET,), methods=(METHOD,), seeds=(1,))
    return ResolvedSweep("sweep", [block], list(specs), {MODEL: resolve_model(MODEL)}, {}, {})


def run_empty(specs: Sequence[TrialSpec], root: Path, measure: Callable[[], Any] = lambda: None) -> Timed:
    """Run ``specs`` into the store at ``root``, with Ray started, and return the display with its times.

    Raises RuntimeError where a trial did not complete.
    """
    store = ResultStore(root)
    plan, lease, ref = plan_sweep(sweep_of(specs), store), acquire(store.root), resolve_model(MODEL)
    with (
        (root.parent / "events").open("w") as events,
        redirect_stderr(events),
        mock.patch.object(grid, "TrialTrainable", EmptyTrainable),
    ):
        progress = Timed(plan, {spec.trial_id: spec for spec in specs})
        progress.measure = measure
        grid.run_grid(plan.trials, {ref.name: ref}, store, Resources(), progress, lease)
    lease.release()
    done = sum(len(trial.epochs) == trial.spec.epochs and trial.summary is not None for trial in store.trials()[0])
    if done != len(specs):
        raise RuntimeError(f"{done} of {len(specs)} empty trials completed; no cost is given")
    return progress
