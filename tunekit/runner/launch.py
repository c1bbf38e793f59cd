"""The code that a grid and a search share: their jobs, the settings of Ray Tune, and a run of it from start to end."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from ray import tune

from tunekit.engine.job import Job
from tunekit.models.loading import ModelRef
from tunekit.planning import plugins
from tunekit.planning.resources import Resources, check_room
from tunekit.runner.callbacks import MAX_FAILURES
from tunekit.runner.nodes import Guard, checked_nodes
from tunekit.runner.progress import Progress
from tunekit.runner.session import RayStart, Session, wait_for_nodes
from tunekit.runner.trainers import end_hosts
from tunekit.runner.tune_changes import pass_environment
from tunekit.schema import Fingerprint, TrialSpec
from tunekit.signals import Signals
from tunekit.storage.lease import Lease
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import local_folder
from tunekit.store.result_store import ResultStore

MakeTuner = Callable[[Session, Guard], tune.Tuner]


def run_tuner(
    make: MakeTuner, resources: Resources, progress: Progress, lease: Lease, ray_start: RayStart | None = None
) -> None:
    """Run the Tuner that ``make`` returns for a session of Ray.

    ``ray_start`` is a start of Ray that the caller has begun and ends; without it, Ray is started and ended here.
    Raises Stopped if a signal ended the run, and UserError if the nodes can't train for this driver.
    """
    with ExitStack() as stack:
        signals = stack.enter_context(Signals(lease.release))
        starting = ray_start or stack.enter_context(RayStart())
        stack.enter_context(progress)
        session = starting.wait()
        signals.install_again()
        if session.warning:
            progress.note(session.warning)
        session = wait_for_nodes(session, progress.wait)
        pass_environment(inherited=session.ours)
        check_room(session.nodes, resources)
        try:
            with checked_nodes(session, lease) as guard:
                make(session, guard).fit()
        finally:
            end_hosts(lease.sweep, lease.start)


def job_of(
    spec: TrialSpec,
    fingerprint: Fingerprint,
    models: Mapping[str, ModelRef],
    store: ResultStore,
    lease: Lease,
    resources: Resources,
    *,
    gpu: bool,
    runs_ahead: bool = False,
) -> Job:
    """Return the job with all that a process needs to train ``spec``; ``models`` are by their names in specs."""
    return Job(
        spec=spec,
        fingerprint=fingerprint,
        model=models[spec.model],
        sweep=store.root.resolve(),
        start=lease.start,
        threads=resources.cpus_per_trial,
        device="cuda" if gpu else "cpu",
        keep_models=resources.keep_models,
        plugins=plugins.active(),
        runs_ahead=runs_ahead,
    )


def experiment_of(store: ResultStore, lease: Lease) -> Path:
    """Return the folder of Ray Tune's own records for a run that starts now.

    It lies on this machine if the store is on an object store: Tune would upload all of it every five minutes, and
    we read nothing from it.
    """
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    root = store.root.resolve()
    return (local_folder(root) if isinstance(root, ObjectPath) else root) / "ray" / f"{started}-{lease.start}"


def run_config(experiment: Path, stopper: tune.Stopper, callbacks: Sequence[tune.Callback]) -> tune.RunConfig:
    """Return Tune's settings: where it writes, how often it retries, and that it prints nothing."""
    return tune.RunConfig(
        name=experiment.name,
        storage_path=str(experiment.parent),
        failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
        # A class trainable without checkpoints of Tune's own must not be asked for one at its end.
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        callbacks=list(callbacks),
        stop=stopper,
        verbose=0,
    )
