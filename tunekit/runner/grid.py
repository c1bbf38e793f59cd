"""Run the planned trials of a grid on Ray Tune."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ray import tune
from ray.tune.experiment import Trial

from tunekit.engine.job import Job
from tunekit.models.loading import ModelRef
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resources import Resources, on_gpus, pack_of, room, share_of
from tunekit.runner.callbacks import RecordCallback, RetryCallback, TrackerCallback, specs_of
from tunekit.runner.launch import experiment_of, job_of, run_config, run_tuner
from tunekit.runner.nodes import Guard
from tunekit.runner.pack_probe import with_fastest_pack
from tunekit.runner.progress import GridProgress
from tunekit.runner.session import RayStart, Session
from tunekit.runner.trainables import TrialTrainable
from tunekit.runner.trial_queue import TrialQueue
from tunekit.storage.lease import Lease
from tunekit.store.result_store import ResultStore
from tunekit.trackers.feed import Feeds


# Tune pickles these two functions with each trial, so they must hold no reference to anything large.
def name_of(trial: Trial) -> str:
    """Return what Tune calls a trial."""
    [spec] = specs_of(trial)
    return spec.name


def folder_of(trial: Trial) -> str:
    """Return the name of a trial's folder in Tune's own experiment folder."""
    [spec] = specs_of(trial)
    return spec.folder


def run_grid(
    trials: Sequence[PlannedTrial],
    models: Mapping[str, ModelRef],
    store: ResultStore,
    resources: Resources,
    progress: GridProgress,
    lease: Lease,
    track: Sequence[str] = (),
    ray_start: RayStart | None = None,
) -> None:
    """Train ``trials`` in order, as many at a time as resources allow, and record in the store how each ended.

    ``models`` are by spec name, and ``track`` names trackers. The caller holds the lease, and may have begun to start
    Ray. Raises Stopped if a signal ended the run, and UserError if the nodes can't train for this driver.
    """

    def make(session: Session, guard: Guard) -> tune.Tuner:
        gpu = on_gpus(session.nodes)
        jobs = {
            # Nothing stops a trial of a grid after an epoch. On a CPU the next epoch would compete for the cores.
            trial.spec.trial_id: job_of(
                trial.spec,
                trial.fingerprint,
                models,
                store,
                lease,
                resources,
                gpu=gpu,
                runs_ahead=gpu and trial.spec.patience is None,  # else the score of an epoch decides on the next one
            )
            for trial in trials
        }
        given = with_fastest_pack(resources, jobs, progress) if resources.probed and gpu else resources
        experiment = experiment_of(store, lease)
        progress.begin(
            at_a_time=min(room(session.nodes, given), len(jobs)),
            dashboard=session.dashboard,
            storage=store.root,
            experiment=experiment,
        )
        callbacks = [RecordCallback(jobs, progress), RetryCallback(store, progress.note), TrackerCallback(store, feeds)]
        share, pack = share_of(session.nodes, given), pack_of(session.nodes, given)
        return tuner(jobs, experiment, share, pack, given.max_concurrent, guard, callbacks)

    with Feeds(track, store, progress.note) as feeds:
        run_tuner(make, resources, progress, lease, ray_start)


def tuner(
    jobs: Mapping[str, Job],
    experiment: Path,
    share: dict[str, float],
    pack: int,
    max_concurrent: int | None,
    guard: Guard,
    callbacks: Sequence[tune.Callback],
) -> tune.Tuner:
    """Return a Tuner over ``jobs``, which are by trial id.

    Each trial asks Ray for ``share`` of a node's resources. Up to ``pack`` trials train as one pack. Actors are used
    again for later trials. ``experiment`` is the folder of Tune's own records.
    """
    configs = [{"trial": {"trial_id": trial_id, **job.spec.to_dict()}} for trial_id, job in jobs.items()]
    trainable = tune.with_parameters(TrialTrainable, jobs=jobs, num_places=pack, driver=guard.driver)
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
