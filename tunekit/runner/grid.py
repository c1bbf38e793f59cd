"""Run a list of planned trials on Ray Tune and record how each ended."""

from collections.abc import Sequence
from pathlib import Path

from ray import tune
from ray.tune.experiment import Trial

from tunekit.commands.console import Progress
from tunekit.engine.job import Job
from tunekit.engine.run import end
from tunekit.models.loading import ModelRef
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resources import Resources, on_gpus, pack_of, room, share_of
from tunekit.runner.callbacks import RetryCallback, TrackerCallback, reason, specs_of
from tunekit.runner.launch import experiment_of, job_of, run_config, run_tuner
from tunekit.runner.nodes import REFUSED, Guard
from tunekit.runner.session import Session
from tunekit.runner.trainables import TrialTrainable
from tunekit.runner.trial_queue import TrialQueue
from tunekit.schema import Status
from tunekit.storage.lease import Lease
from tunekit.store.records import DamagedRecord
from tunekit.store.result_store import ResultStore
from tunekit.trackers.feed import Feeds


def trial_id(trial: Trial) -> str:
    """Our id of one of Tune's trials."""
    return trial.config["trial"]["trial_id"]


def name_of(trial: Trial) -> str:
    """What Tune calls a trial. Tune pickles this with each trial, so it must hold nothing."""
    [spec] = specs_of(trial)
    return spec.name


def folder_of(trial: Trial) -> str:
    """Where Tune writes of a trial, in the experiment's folder."""
    [spec] = specs_of(trial)
    return spec.folder


class RecordCallback(tune.Callback):
    """Feeds the progress display, and writes the summary of a trial that Tune gave up."""

    def __init__(self, jobs: dict[str, Job], progress: Progress) -> None:
        self.jobs, self.progress = jobs, progress

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tuner pickles itself for a restore that we do not use, and a live display can't be pickled."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """A trial began or began again."""
        self.progress.started(trial_id(trial))

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: object) -> None:
        """An epoch was recorded, or the trial ended."""
        self.progress.epoch(trial_id(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """A trial ended; one that a scheduler ended gets its summary here, one that its node refused none."""
        if REFUSED in trial.last_result:
            return
        job = self.jobs[trial_id(trial)]
        self._settle(job, Status.STOPPED, "stopped by the scheduler")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        """A trial failed for good."""
        job = self.jobs[trial_id(trial)]
        self._settle(job, Status.FAILED, reason(trial))

    def _settle(self, job: Job, status: Status, error: str) -> None:
        """Write the summary if the trial did not; a store that can't be written must not stop the other trials."""
        try:
            found = _summary_of(job) or end(job, status, error).status
        except OSError as problem:
            self.progress.note(f"{job.spec.label}: {error}; its summary can't be written ({problem})")
            found = status
        self.progress.ended(job.spec.trial_id, found)


def run_grid(
    trials: Sequence[PlannedTrial],
    models: dict[str, ModelRef],
    store: ResultStore,
    resources: Resources,
    progress: Progress,
    lease: Lease,
    track: Sequence[str] = (),
) -> None:
    """Train ``trials`` in order, as many at a time as resources allow.

    ``models`` are by spec name, ``track`` names trackers. The caller holds the lease. What ended is in the store,
    whatever happens here. Raises Stopped where a signal ended it, UserError where nodes can't train for this driver.
    """

    def make(session: Session, guard: Guard) -> tune.Tuner:
        gpu = on_gpus(session.nodes)
        jobs = {
            trial.spec.trial_id: job_of(trial.spec, trial.fingerprint, models, store, lease, resources, gpu=gpu)
            for trial in trials
        }
        experiment = experiment_of(store, lease)
        progress.begin(
            slots=min(room(session.nodes, resources), len(jobs)),
            dashboard=session.dashboard,
            storage=store.root,
            experiment=experiment,
        )
        callbacks = [RecordCallback(jobs, progress), RetryCallback(store, progress.note), TrackerCallback(store, feeds)]
        share, pack = share_of(session.nodes, resources), pack_of(session.nodes, resources)
        return tuner(jobs, experiment, share, pack, resources.max_concurrent, guard, callbacks)

    with Feeds(track, store, progress.note) as feeds:
        run_tuner(make, resources, progress, lease)


def tuner(
    jobs: dict[str, Job],
    experiment: Path,
    share: dict[str, float],
    pack: int,
    max_concurrent: int | None,
    guard: Guard,
    callbacks: Sequence[tune.Callback],
) -> tune.Tuner:
    """A Tuner over ``jobs`` in order, in packs of up to ``pack``, with re-used actors, in its own experiment folder."""
    configs = [{"trial": {"trial_id": trial_id, **job.spec.to_dict()}} for trial_id, job in jobs.items()]
    trainable = tune.with_parameters(TrialTrainable, jobs=jobs, capacity=pack, driver=guard.driver)
    return tune.Tuner(
        tune.with_resources(trainable, share),
        tune_config=tune.TuneConfig(
            search_alg=TrialQueue(configs, max_concurrent),
            reuse_actors=True,
            trial_name_creator=name_of,
            trial_dirname_creator=folder_of,
        ),
        run_config=run_config(experiment, guard, callbacks),
    )


def _summary_of(job: Job) -> Status | None:
    store = ResultStore(job.sweep)
    try:
        summary = store.read(store.folder(job.spec)).summary
    except DamagedRecord:
        return None
    return summary.status if summary else None
