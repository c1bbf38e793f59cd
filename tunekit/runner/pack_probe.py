"""Find how many trials of a grid share a GPU, by a probe in a process of Ray that has the GPU to itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from tunekit.engine.job import Job
from tunekit.errors import first_line
from tunekit.parsing import how_many
from tunekit.planning.batching import largest_pack
from tunekit.planning.resources import Resources
from tunekit.runner.progress import Progress
from tunekit.worker.libraries import load_libraries

TIMEOUT_SECONDS = 300
"""The most seconds that the probe may take, including the start of its process, the libraries and the models."""


def with_fastest_pack(resources: Resources, jobs: Mapping[str, Job], progress: Progress) -> Resources:
    """Return ``resources`` with the number of trials on a GPU that trains most trials an hour, and say that number.

    It is found for the trials of the largest pack that ``jobs``, which are by trial id, can make. It exceeds neither
    their number nor the number that ``resources`` allow, which stays where the probe fails.
    """
    models = {job.spec.model: job.model for job in jobs.values()}
    specs = largest_pack([job.spec for job in jobs.values()], models)
    chosen = [jobs[spec.trial_id] for spec in specs[: resources.trials_per_device]]
    if len(chosen) == 1:
        progress.note("1 trial a GPU: no two of these trials can be one pack")
        return replace(resources, trials_per_device=1)
    progress.wait("finding how many trials a GPU trains best together")
    try:
        pack, line = _on_a_gpu(chosen)
    except RayError as error:
        # The text of a RayTaskError begins with a coloured line of Ray; its cause is what the probe raised.
        cause = error.cause if isinstance(error, RayTaskError) else error
        progress.note(
            f"{how_many(len(chosen), 'trial')} a GPU, as many as memory has room for: "
            f"the probe of packs failed ({first_line(cause)})"
        )
        return replace(resources, trials_per_device=len(chosen))
    progress.note(line)
    return replace(resources, trials_per_device=pack)


def _on_a_gpu(jobs: Sequence[Job]) -> tuple[int, str]:
    """Return the best size of packs of ``jobs``, and a line with the rates. Raises RayError."""
    first = jobs[0]
    options = {
        "num_cpus": first.threads,
        "num_gpus": 1 if first.device == "cuda" else 0,
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(first.threads)}},
    }
    # An actor, since ray.cancel(force=True) of a task whose answer is on its way aborts the driver's process.
    actor: Any = ray.remote(_Probe).options(**options).remote()  # Ray's types lack the actor's methods
    try:
        found: tuple[int, str] = ray.get(actor.run.remote(jobs), timeout=TIMEOUT_SECONDS)
        return found
    finally:
        ray.kill(actor)  # its process would hold memory of the GPU


class _Probe:
    """The probe's process."""

    def run(self, jobs: Sequence[Job]) -> tuple[int, str]:
        """Return the best size of packs of ``jobs``, and a line with the rates."""
        load_libraries()
        from tunekit.worker.pack_probe import fastest, probe  # imports torch, which the driver does not need

        rates = probe(jobs)
        best, spec = fastest(rates), jobs[0].spec
        tried = ", ".join(f"{rate.pack_size}: {rate.trials_per_hour:,.0f}" for rate in rates)
        what, size = f"{spec.method} of {spec.model} on {spec.dataset}", best.pack_size
        return size, f"{how_many(size, 'trial')} a GPU: packs of {what} train so many trials an hour: {tried}"
