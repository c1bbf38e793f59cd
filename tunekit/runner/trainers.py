"""Train an actor's trials in its own process, or place them on the device hosts of its node.

A process that only makes requests to hosts imports no torch: there is one for each trial of a pack.
"""

import hashlib
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import RayActorError
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tunekit.engine.job import Job
from tunekit.storage.paths import Place
from tunekit.worker.libraries import load_libraries
from tunekit.worker.report import TrialReport

if TYPE_CHECKING:
    from tunekit.worker.attempt import Attempt

NAMESPACE = "tunekit"
"""The Ray namespace of device hosts: a fixed one, so that the next driver and every trial find them by name."""


class Trainer(Protocol):
    """Trains the trials that an actor works on."""

    def begin(self, jobs: Sequence[Job]) -> list[TrialReport]:
        """Return the trials as they are before an epoch is trained, as far as is known without a request to a host."""

    def step(self, jobs: Sequence[Job]) -> list[TrialReport]:
        """Train one epoch of each trial, in order, and return the reports.

        Trials behind one that ended early may be left out. Raises an error that a fresh process may mend.
        """

    def release(self) -> None:
        """Let go of all trials."""


class LocalTrainer:
    """Trains trials in this process, one after another."""

    def __init__(self) -> None:
        self._attempts: dict[str, Attempt] = {}

    def begin(self, jobs: Sequence[Job]) -> list[TrialReport]:
        """Start the trials or restore them from their checkpoints, and return their reports."""
        reports = []
        for job in jobs:
            attempt = self._attempt(job)
            attempt.begin()
            reports.append(attempt.report())
        return reports

    def step(self, jobs: Sequence[Job]) -> list[TrialReport]:
        """Train one epoch of each trial, up to the first trial that ends early, and return the reports."""
        reports: list[TrialReport] = []
        for job in jobs:
            attempt = self._attempt(job)
            attempt.begin()
            if attempt.run:
                attempt.run.trials_in_process = len(jobs)
            attempt.step()
            reports.append(attempt.report())
            if reports[-1].ended_early:
                break
        return reports

    def release(self) -> None:
        """Free the models."""
        # Each is unloaded: a model's modules refer to each other, so that dropping the attempt frees no memory.
        for attempt in self._attempts.values():
            attempt.unload()
        self._attempts.clear()

    def _attempt(self, job: Job) -> "Attempt":
        load_libraries()
        from tunekit.worker.attempt import Attempt

        if job.spec.trial_id not in self._attempts:
            self._attempts[job.spec.trial_id] = Attempt(job)
        return self._attempts[job.spec.trial_id]


class HostedTrainer:
    """Has trials trained by device hosts of this node, each of which holds ``num_places`` trials."""

    def __init__(self, num_places: int) -> None:
        self.num_places = num_places
        self._hosts: dict[str, Any] = {}
        """The actor of the host that each trial is placed on, by trial id."""

    def begin(self, jobs: Sequence[Job]) -> list[TrialReport]:
        """Return empty reports: a trial is placed on a host by its first step."""
        return [TrialReport((), None) for _ in jobs]

    def step(self, jobs: Sequence[Job]) -> list[TrialReport]:
        """Have an epoch of each trial trained, all at once. Raises if a host has died: a retry finds another."""
        hosts = [self._host_of(job) for job in jobs]
        reports: list[TrialReport] = ray.get([host.step.remote(job) for host, job in zip(hosts, jobs, strict=True)])
        return reports

    def release(self) -> None:
        """Free the places on the hosts, so that other trials can be placed there."""
        for trial_id, host in self._hosts.items():
            host.release.remote(trial_id)
        self._hosts.clear()

    def _host_of(self, job: Job) -> Any:
        """Return the host that the trial is placed on; the first call places it."""
        if job.spec.trial_id not in self._hosts:
            # A GPU has exactly one host. Cores belong to no host, so the next number is tried where one is full.
            for device in ray.get_gpu_ids() or count():
                host = get_or_start_host(device, job, self.num_places)
                if ray.get(host.place.remote(job)):
                    self._hosts[job.spec.trial_id] = host
                    break
            else:
                raise RuntimeError(f"the host of this GPU has no place for {job.spec.label}")
        return self._hosts[job.spec.trial_id]


class DeviceHostActor:
    """The Ray actor of a device host. The training code is imported in the actor's process, not in its clients'."""

    def __init__(self, num_places: int) -> None:
        load_libraries()
        from tunekit.worker.device_host import DeviceHost

        self._host = DeviceHost(num_places)

    def place(self, job: Job) -> bool:
        """Place a trial; see ``DeviceHost.place``."""
        return self._host.place(job)

    def step(self, job: Job) -> TrialReport:
        """Train an epoch; see ``DeviceHost.step``."""
        return self._host.step(job)

    def release(self, trial_id: str) -> None:
        """Free a trial's place; see ``DeviceHost.release``."""
        self._host.release(trial_id)


def trainer_for(num_places: int) -> Trainer:
    """Return an actor's trainer: one with device hosts if ``num_places`` trials train as one pack, else a local one."""
    return HostedTrainer(num_places) if num_places > 1 else LocalTrainer()


def host_prefix(sweep: Place, start: int) -> str:
    """Return the beginning of the names of all hosts of one driver: number ``start`` of the sweep in this folder."""
    digest = hashlib.sha256(str(sweep.resolve()).encode()).hexdigest()[:8]
    return f"host-{sweep.name}-{digest}-{start}-"


def get_or_start_host(device: int | str, job: Job, num_places: int) -> Any:
    """Return the actor of the host of this node's ``device``: a GPU's id, or the number of a share of the cores."""
    node = ray.get_runtime_context().get_node_id()
    env = {"OMP_NUM_THREADS": str(job.threads)}
    if job.device == "cuda":
        env["CUDA_VISIBLE_DEVICES"] = str(device)
    options = {
        "name": f"{host_prefix(job.sweep, job.start)}{node}-{device}",
        "namespace": NAMESPACE,
        "get_if_exists": True,
        # Detached and placed by affinity: else the host would belong to the placement group of the trial that started
        # it, and would die with that trial.
        "lifetime": "detached",
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        "num_cpus": 0,
        "num_gpus": 0,
        # A thread for each waiting request, and some for placing and releasing.
        "max_concurrency": 4 * num_places,
        "runtime_env": {"env_vars": env},
    }
    return ray.remote(DeviceHostActor).options(**options).remote(num_places)


def end_hosts(sweep: Place, start: int) -> None:
    """End the hosts that were started for number ``start`` of the sweep's drivers."""
    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(host_prefix(sweep, start)):
            try:
                ray.kill(ray.get_actor(actor["name"], namespace=NAMESPACE))
            except (ValueError, RayActorError):
                continue  # it has ended itself meanwhile
