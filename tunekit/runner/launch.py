"""A Tuner run from start to end: Ray joined, signals heeded, the first thing that every run of ours sets."""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from ray import tune

from tunekit.engine.job import Job
from tunekit.models.loading import ModelRef
from tunekit.planning import plugins
from tunekit.planning.resources import Resources, check_room
from tunekit.runner import session as ray_session
from tunekit.runner.callbacks import MAX_FAILURES
from tunekit.runner.nodes import Guard, checked_nodes
from tunekit.runner.trainers import end_hosts
from tunekit.schema import Fingerprint, TrialSpec
from tunekit.signals import Signals, Stopped
from tunekit.storage.lease import Lease
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.paths import local_folder
from tunekit.store.result_store import ResultStore

Make = Callable[[ray_session.Session, Guard], tune.Tuner]


def run_tuner(make: Make, resources: Resources, display: AbstractContextManager, lease: Lease) -> None:
    """Run the Tuner that ``make`` makes once Ray is there.

    Raises Stopped where a signal ended it, UserError where nodes can't train for this driver.
    """
    try:
        session = ray_session.connect()
    except SystemExit as error:  # Ray's own answer to SIGTERM while it starts
        raise Stopped(signal.SIGTERM) from error
    with Signals(lease.release), display:
        try:
            session = ray_session.wait_for_nodes(session)
            check_room(session.nodes, resources)
            with checked_nodes(session, lease) as guard:
                make(session, guard).fit()
        finally:
            end_hosts(lease.sweep, lease.start)
            ray_session.disconnect(session)


def job_of(
    spec: TrialSpec,
    fingerprint: Fingerprint,
    models: Mapping[str, ModelRef],
    store: ResultStore,
    lease: Lease,
    resources: Resources,
    *,
    gpu: bool,
) -> Job:
    """The spec as its process gets it."""
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
    )


def experiment_of(store: ResultStore, lease: Lease) -> Path:
    """Ray Tune's own folder of a run that starts now; on this machine where the store is on an object store.

    Tune would PUT all of it again every five minutes, and nothing of ours is read from it.
    """
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    root = store.root.resolve()
    return (local_folder(root) if isinstance(root, ObjectPath) else root) / "ray" / f"{started}-{lease.start}"


def run_config(experiment: Path, guard: Guard, callbacks: Sequence[tune.Callback]) -> tune.RunConfig:
    """Where Tune writes and how often it retries."""
    return tune.RunConfig(
        name=experiment.name,
        storage_path=str(experiment.parent),
        failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        callbacks=list(callbacks),
        stop=guard,
        verbose=0,
    )
