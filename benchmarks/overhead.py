"""What running a trial costs beside training it: empty trials, through our runner and through Ray Tune alone.

Ours is the grid's own path (``run_grid``: lease, actors, store, display); only the run in the actor is replaced, by one
that writes the records of each epoch and the summary, and computes nothing. Tune's trials report as many results and
write none but Tune's own. All runs share one Ray. Costs are paces between trials' ends, so that what is paid once
a run, the start of actors above all, is not in them.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from benchmarks.harness import Outcome, ratio_of
from tunekit.data.base import DATASETS
from tunekit.engine.job import Job
from tunekit.engine.summary import SCORED, Built, summarise
from tunekit.lease import acquire, check_current
from tunekit.methods.base import complete_params
from tunekit.models import resolve_model
from tunekit.plan import fingerprint_of, make_plan
from tunekit.runner import grid
from tunekit.runner.progress import Progress
from tunekit.runner.resources import Resources
from tunekit.runner.trainable import TrialTrainable
from tunekit.schema import EpochRecord, Status, TrialSpec, TrialSummary
from tunekit.store import ResultStore

from ray import tune  # isort: skip  (after tunekit.runner, which sets what Ray reads at import)
import ray  # isort: skip

RESULTS = 10
CORES = 2


class EmptyRun:
    """In the place of ``TrialRun``: writes what a trial with its test part sealed writes, one step an epoch."""

    def __init__(self, job: Job, log: Callable[[str], None]) -> None:
        check_current(job.sweep, job.start)
        self.job, self.store, self.records = job, ResultStore(job.sweep), []
        self.folder = self.store.begin(job.spec, job.fingerprint)
        log(f"{job.spec.label}: epoch 1 of {job.spec.epochs} begins")

    @property
    def done(self) -> bool:
        """Whether all epochs are recorded."""
        return len(self.records) >= self.job.spec.epochs

    def train_epoch(self) -> None:
        """Record an epoch."""
        check_current(self.job.sweep, self.job.start)
        unscored = dict.fromkeys(SCORED)
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
        """Write the summary."""
        check_current(self.job.sweep, self.job.start)
        summary = summarise(self.records, Status.COMPLETED, built=Built(0, 0, None, {}))
        self.store.write_summary(self.folder, summary)
        return summary


class EmptyTrainable(TrialTrainable):
    """The grid's trainable over ``EmptyRun``."""

    def setup(self, config: dict[str, Any], jobs: dict[str, Job]) -> None:
        """Replace the run in this actor's process, then be as the grid's."""
        from tunekit.runner import attempt

        attempt.TrialRun = EmptyRun
        super().setup(config, jobs)


class EmptyTune(tune.Trainable):
    """Reports and does nothing else."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the number of results."""
        self.results = config["results"]

    def step(self) -> dict[str, Any]:
        """One result."""
        return {"epoch": self.iteration + 1, "done": self.iteration + 1 >= self.results}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self.results = new_config["results"]
        return True


Ends = list[float]
"""When each trial ended, seconds, in order."""
Run = Callable[[int, int], Ends]
"""Takes the numbers of trials and of results of each."""


class Watched(Progress):
    """The grid's display, which notes when trials end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ends: Ends = []

    def ended(self, trial_id: str, status: Status) -> None:
        """A trial ended."""
        self.ends.append(time.perf_counter())
        super().ended(trial_id, status)


class Watch(tune.Callback):
    """Notes when trials of Tune end."""

    def __init__(self) -> None:
        self.ends: Ends = []

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tuner pickles itself for a restore that is not used."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: object) -> None:
        """A trial ended."""
        self.ends.append(time.perf_counter())


def ours(num_trials: int, results: int) -> Ends:
    """A grid of empty trials. Raises RuntimeError where one did not complete."""
    ref, params = resolve_model("tiny-bert"), complete_params("full", {})
    specs = [
        TrialSpec(
            model=ref.name, dataset="demo", method="full", method_params=params, seed=seed, learning_rate=1e-4,
            epochs=results, score_test=False,
        )
        for seed in range(num_trials)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "events").open("w") as events:
        store = ResultStore(Path(folder) / "sweep")
        fingerprint = fingerprint_of(specs[0], ref.revision, DATASETS["demo"].content_hash)
        plan = make_plan(specs, {spec.trial_id: fingerprint for spec in specs}, store)
        lease = acquire(store.root)
        with redirect_stdout(events), mock.patch.object(grid, "TrialTrainable", EmptyTrainable):
            progress = Watched(plan, {spec.trial_id: spec for spec in specs})
            grid.run_grid(plan.trials, {ref.name: ref}, store, Resources(), progress, lease)
        lease.release()
        done = sum(len(trial.epochs) == results and trial.summary is not None for trial in store.trials()[0])
        if done != num_trials:
            raise RuntimeError(f"{done} of {num_trials} empty trials completed; no cost is given")
    return progress.ends


def tuner(num_trials: int, results: int, *, reuse: bool) -> Ends:
    """As many empty trials of Ray Tune."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            EmptyTune,
            param_space={"results": results, "trial": tune.grid_search(list(range(num_trials)))},
            tune_config=tune.TuneConfig(reuse_actors=reuse),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[watch],
            ),
        ).fit()
    return watch.ends


def pace(ends: Ends) -> float:
    """Milliseconds from trial to trial over the second half of a run, when all actors are there."""
    late = ends[len(ends) // 2 :]
    return 1000 * (late[-1] - late[0]) / (len(late) - 1)


def run(quick: bool) -> Outcome:
    """Ratios of milliseconds a trial and a result, such as ``overhead/trial/tune_reuse``, and the milliseconds."""
    many, total, few, repeats = (12, 12, 8, 1) if quick else (200, 1_000, 20, 5)
    sides: dict[str, Run] = {"ours": ours, "tune_reuse": lambda trials, results: tuner(trials, results, reuse=True)}
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        trial: dict[str, list[float]] = {side: [] for side in sides}
        result: dict[str, list[float]] = {side: [] for side in sides}
        for repeat in range(repeats):
            for side in list(sides) if repeat % 2 == 0 else reversed(sides):
                one, ten = (pace(sides[side](many, results)) for results in (1, RESULTS))
                trial[side].append(one)
                result[side].append((ten - one) / (RESULTS - 1))
        whole = {side: pace(found(total, RESULTS)) for side, found in sides.items()}
        default = pace(tuner(few, 1, reuse=False))
    finally:
        ray.shutdown()
    figures: dict[str, Any] = {
        "trials": many,
        "ms a trial of one result": trial,
        "ms a further result": result,
        f"ms a trial of {RESULTS} results, {total} trials": whole,
        f"ms a trial of one result, tune_default, {few} trials": default,
        "ours less tune_reuse, median": {
            f"ms a {name}": median(np.subtract(found["ours"], found["tune_reuse"]).tolist())
            for name, found in (("trial", trial), ("result", result))
        },
    }
    ratios = {
        "overhead/trial/tune_reuse": ratio_of(trial["ours"], trial["tune_reuse"]),
        "overhead/trial/tune_default": ratio_of(trial["ours"], [default] * repeats),
        "overhead/result/tune_reuse": ratio_of(result["ours"], result["tune_reuse"]),
    }
    return Outcome(ratios, figures)
