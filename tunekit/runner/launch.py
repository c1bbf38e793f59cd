"""A Tuner run from start to end: Ray joined, signals heeded, the first thing that every run of ours sets."""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from tunekit.runner import session as ray_session  # isort: skip  (sets what Ray reads at import)
from ray import tune

from tunekit.engine.job import Job
from tunekit.lease import Lease
from tunekit.models import ModelRef
from tunekit.objects import ObjectPath
from tunekit.runner.client import end_hosts
from tunekit.runner.resources import Resources
from tunekit.runner.retries import MAX_FAILURES
from tunekit.schema import Fingerprint, TrialSpec
from tunekit.stopping import Signals, Stopped
from tunekit.storage import local_folder
from tunekit.store import ResultStore


def fit(make: Callable[[ray_session.Session], tune.Tuner], display: AbstractContextManager, lease: Lease) -> None:
    """Run the Tuner that ``make`` makes once Ray is there. Raises Stopped where a signal ended it."""
    try:
        session = ray_session.connect()
    except SystemExit as error:  # Ray's own answer to SIGTERM while it starts
        raise Stopped(signal.SIGTERM) from error
    with Signals(lease.release), display:
        try:
            make(session).fit()
        finally:
            end_hosts(lease.sweep, lease.start)
            ray_session.disconnect(session)


def pack_of(session: ray_session.Session, resources: Resources) -> int:
    """Trials that one process trains together."""
    return resources.pack or (resources.trials_per_device if session.num_gpus else 1)


def share_of(session: ray_session.Session, resources: Resources) -> dict[str, float]:
    """What a trial asks Ray for: its part of a GPU, or of the cores that its pack trains on."""
    pack = pack_of(session, resources)
    cpus = resources.cpus_per_trial / pack
    # Ray takes whole numbers above 1 and four places below.
    return {"cpu": int(cpus) if cpus > 1 else cpus, "gpu": 1 / pack if session.num_gpus else 0}


def slots_of(session: ray_session.Session, resources: Resources) -> int:
    """Trials that run at a time."""
    devices = session.num_gpus or session.num_cpus // resources.cpus_per_trial
    room = int(devices) * pack_of(session, resources)
    return max(1, min(room, resources.max_concurrent or room))


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
    )


def experiment_of(store: ResultStore, lease: Lease) -> Path:
    """Ray Tune's own folder of a run that starts now; on this machine where the store is on an object store.

    Tune would PUT all of it again every five minutes, and nothing of ours is read from it.
    """
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    root = store.root.resolve()
    return (local_folder(root) if isinstance(root, ObjectPath) else root) / "ray" / f"{started}-{lease.start}"


def run_config(experiment: Path, callbacks: Sequence[tune.Callback]) -> tune.RunConfig:
    """Where Tune writes and how often it retries."""
    return tune.RunConfig(
        name=experiment.name,
        storage_path=str(experiment.parent),
        failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        callbacks=list(callbacks),
        verbose=0,
    )
