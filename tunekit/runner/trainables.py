"""Ray Tune trials, one step an epoch, in actors that are used again: a TrialSpec, or a configuration's search seeds.

A trial is begun by its first step, not in ``setup`` or ``reset_config``: Tune may set up an actor for a trial and then
hand the trial to another one, and it retries what fails in a step.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tunekit.engine.job import Job, jobs_of
from tunekit.runner.actor import SlotTrainable
from tunekit.runner.nodes import Driver, refusal, refused
from tunekit.schema import Status
from tunekit.storage.paths import Place
from tunekit.worker.attempt import Attempt
from tunekit.worker.report import TrialReport, is_behind, tune_result, tune_result_of_seeds


class TrialTrainable(SlotTrainable):
    """Trains ``jobs[config["trial"]["trial_id"]]``; see ``Attempt`` for what ends it and what raises."""

    def setup(self, config: dict[str, Any], jobs: Mapping[str, Job], driver: Driver | None = None) -> None:
        """Take the trial; its node must be fit to train for ``driver``."""
        self.jobs, self.driver = jobs, driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this actor."""
        self.attempt: Attempt | None = None  # frees the former model
        self.job = self.jobs[new_config["trial"]["trial_id"]]
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch and return its record; the first one begins the trial, the last one completes it."""
        if line := refusal(self.driver):
            return refused(line)
        self.attempt = self.attempt or Attempt(self.job)
        self.attempt.step()
        view = self.attempt.view()
        self.show(self.job.spec, view)
        return tune_result(view)

    def cleanup(self) -> None:
        """Free the model."""
        self.attempt = None


class SearchTrainable(SlotTrainable):
    """Trains the specs of one configuration, ``config["trial"]["specs"]``, its seeds one after another in each epoch.

    ``bases`` are jobs by study, whose spec gives way; ``metric`` is the score that is searched on. Epochs that a former
    driver recorded are reported again, for the scheduler to see them all.
    """

    def setup(
        self, config: dict[str, Any], bases: Mapping[str, Job], metric: str, driver: Driver | None = None
    ) -> None:
        """Take the configuration; its node must be fit to train for ``driver``."""
        self.bases, self.metric, self.driver = bases, metric, driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in this actor."""
        self.attempts: list[Attempt] = []  # frees the former models
        self.epoch = 0
        self.jobs = jobs_of(new_config["trial"], self.bases)
        return True

    def step(self) -> dict[str, Any]:
        """Bring every seed to the next epoch and return what they have in common; one that fails ends them all."""
        if line := refusal(self.driver):
            return refused(line)
        self.epoch += 1
        self.attempts = self.attempts or [Attempt(job) for job in self.jobs]
        for attempt in self.attempts:
            attempt.begin()
            epochs = attempt.job.spec.epochs
            while is_behind(len(attempt.records), attempt.status, self.epoch, epochs):
                attempt.step()
            if attempt.status not in (None, Status.COMPLETED):
                break
        views = [attempt.view() for attempt in self.attempts]
        for attempt, view in zip(self.attempts, views, strict=True):
            self.show(attempt.job.spec, view)
        return tune_result_of_seeds(self.epoch, views, self.metric)

    def cleanup(self) -> None:
        """Free the models."""
        self.attempts = []


NAMESPACE = "tunekit"


class Seats:
    """The seats of some trials at hosts of this node, each host with room for ``size``."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hosts: dict[str, ActorHandle] = {}

    def step(self, jobs: Sequence[Job]) -> list[TrialReport]:
        """Have each of ``jobs`` trained for an epoch. Raises where a host died: then a retry finds a new one."""
        hosts = [self._host(job) for job in jobs]
        return ray.get([host.step.remote(job) for host, job in zip(hosts, jobs, strict=True)])

    def leave(self) -> None:
        """Tell the hosts that these trials do not come again; others may take seats then."""
        for trial_id, host in self.hosts.items():
            host.leave.remote(trial_id)
        self.hosts.clear()

    def _host(self, job: Job) -> ActorHandle:
        if job.spec.trial_id not in self.hosts:
            # A GPU has one host; cores are shared out, so that the next host has room if the first has none.
            for device in ray.get_gpu_ids() or count():
                host = host_on(device, job, self.size)
                if ray.get(host.join.remote(job)):
                    self.hosts[job.spec.trial_id] = host
                    break
            else:
                raise RuntimeError(f"the host of this GPU has no room for {job.spec.label}")
        return self.hosts[job.spec.trial_id]


class TrialClient(SlotTrainable):
    """Has ``jobs[config["trial"]["trial_id"]]`` trained in packs of up to ``size``."""

    def setup(self, config: dict[str, Any], jobs: Mapping[str, Job], size: int, driver: Driver | None = None) -> None:
        """Take the trial; its host begins it at the first step. Its node must be fit to train for ``driver``."""
        self.jobs, self.seats, self.driver = jobs, Seats(size), driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this actor."""
        self.seats.leave()
        self.job = self.jobs[new_config["trial"]["trial_id"]]
        return True

    def step(self) -> dict[str, Any]:
        """The next epoch's record, from the host."""
        if line := refusal(self.driver):
            return refused(line)
        [view] = self.seats.step([self.job])
        self.show(self.job.spec, view)
        return tune_result(view)

    def cleanup(self) -> None:
        """Give up the seat."""
        self.seats.leave()


class SearchClient(SlotTrainable):
    """Has the specs of one configuration, ``config["trial"]["specs"]``, its search seeds, trained in packs.

    ``bases`` are jobs by study, whose spec gives way; ``metric`` is the score that is searched on.
    """

    def setup(
        self, config: dict[str, Any], bases: Mapping[str, Job], metric: str, size: int, driver: Driver | None = None
    ) -> None:
        """Take the configuration, on a node fit to train for ``driver``; its host begins it at the first step."""
        self.bases, self.metric, self.seats, self.driver = bases, metric, Seats(size), driver
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in this actor."""
        self.seats.leave()
        self.epoch = 0
        self.jobs = jobs_of(new_config["trial"], self.bases)
        self.views: list[TrialReport] = [TrialReport((), None) for _ in self.jobs]
        return True

    def step(self) -> dict[str, Any]:
        """Bring every seed to the next epoch and return what they have in common; one that fails ends them all."""
        if line := refusal(self.driver):
            return refused(line)
        self.epoch += 1
        while behind := [at for at in range(len(self.jobs)) if self._is_behind(at)]:
            for at, view in zip(behind, self.seats.step([self.jobs[at] for at in behind]), strict=True):
                self.views[at] = view
                self.show(self.jobs[at].spec, view)
            if any(view.status not in (None, Status.COMPLETED) for view in self.views):
                break
        return tune_result_of_seeds(self.epoch, self.views, self.metric)

    def _is_behind(self, at: int) -> bool:
        view = self.views[at]
        return is_behind(len(view.records), view.status, self.epoch, self.jobs[at].spec.epochs)

    def cleanup(self) -> None:
        """Give up the seats."""
        self.seats.leave()


def prefix_of(sweep: Place, start: int) -> str:
    """What the names of a driver's hosts begin with. Sweeps of one name in other folders have others."""
    digest = hashlib.sha256(str(sweep.resolve()).encode()).hexdigest()[:8]
    return f"host-{sweep.name}-{digest}-{start}-"


def host_on(device: int | str, job: Job, size: int) -> ActorHandle:
    """The host of this node's ``device``, started if it is not there: a GPU's id, or the number of a share of cores."""
    from tunekit.worker.device_host import DeviceHost

    node = ray.get_runtime_context().get_node_id()
    env = {"OMP_NUM_THREADS": str(job.threads)}
    if job.device == "cuda":
        env["CUDA_VISIBLE_DEVICES"] = str(device)
    # By affinity and detached: else it would belong to the trial's placement group, and die with the trial.
    options = {
        "name": f"{prefix_of(job.sweep, job.start)}{node}-{device}", "namespace": NAMESPACE, "get_if_exists": True,
        "lifetime": "detached", "num_cpus": 0, "num_gpus": 0, "max_concurrency": 4 * size,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False), "runtime_env": {"env_vars": env},
    }  # fmt: skip
    return ray.remote(DeviceHost).options(**options).remote(size)


def end_hosts(sweep: Place, start: int) -> None:
    """End the hosts that the trials of a driver's ``start`` have started."""
    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix_of(sweep, start)):
            try:
                ray.kill(ray.get_actor(actor["name"], namespace=NAMESPACE))
            except (ValueError, RayActorError):
                continue  # it has ended itself meanwhile
