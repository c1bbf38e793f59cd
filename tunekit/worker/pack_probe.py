"""A short probe of how many trials a GPU trains best as one pack. No Ray.

A larger pack computes a step of more trials, and takes longer for it. The probe trains packs of 1, 2, 4, 8, ... trials
for a few steps, until a larger one trains hardly more trials an hour.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from tunekit.engine.build import build_model, prepare_splits
from tunekit.engine.determinism import be_deterministic
from tunekit.engine.job import Job
from tunekit.engine.member import Member, batches, packable
from tunekit.engine.train import Pack
from tunekit.store.result_store import ResultStore
from tunekit.worker.failures import CLASSIFIED_ERRORS, Failure, classify

PROBE_SECONDS = 20.0
"""A larger pack is tried only if the probe would end within this time, should that pack take as long as the last."""
LEAST_GAIN = 1.05
"""A larger pack is tried only if the last one trained at least this many times as many trials as the one before it."""
STEPS = 8
"""The steps that a pack trains in one pass."""
UNTIMED, TIMED = 2, 3
"""The passes before and under the clock. Kernels are compiled in the first, CUDA graphs captured in the second."""


@dataclass(frozen=True)
class Rate:
    """How fast packs of one size train."""

    pack_size: int
    """The number of trials."""
    trials_per_hour: float
    """The trials that are trained to their end in an hour, by their training steps alone."""


def fastest(rates: Sequence[Rate]) -> Rate:
    """Return the size that trains most trials an hour, the smallest of equals."""
    return max(rates, key=lambda rate: (rate.trials_per_hour, -rate.pack_size))


def sizes_up_to(most: int) -> list[int]:
    """Return the sizes that are tried, in order: powers of two below ``most``, and ``most`` itself."""
    return [*(1 << power for power in range((most - 1).bit_length())), most]


def measure_growing_packs(
    most: int, trials_per_hour: Callable[[int], float], clock: Callable[[], float] = time.perf_counter
) -> list[Rate]:
    """Return the rates of packs of up to ``most`` trials, as ``trials_per_hour`` measures them, smallest first.

    The measurement ends early by LEAST_GAIN, by PROBE_SECONDS, or where memory runs out. Raises the error where memory
    runs out for a single trial, and any error of another kind.
    """
    rates: list[Rate] = []
    start = clock()
    for size in sizes_up_to(most):
        begun = clock()
        try:
            rates.append(Rate(size, trials_per_hour(size)))
        except CLASSIFIED_ERRORS as error:
            if classify(error) is not Failure.OUT_OF_MEMORY or not rates:
                raise
            break
        now = clock()
        if (now - start) + (now - begun) > PROBE_SECONDS:
            break
        if len(rates) > 1 and rates[-1].trials_per_hour < LEAST_GAIN * rates[-2].trials_per_hour:
            break
    return rates


def probe(jobs: Sequence[Job], clock: Callable[[], float] = time.perf_counter) -> list[Rate]:
    """Return the rates of packs of the first 1, 2, 4, ... of ``jobs``, which can all be one pack, on their device.

    Nothing is recorded. Where the built models can't be one pack, the only rate is that of one trial. Raises the errors
    of building or training a trial.
    """
    first = jobs[0]
    be_deterministic(torch.device(first.device), first.threads)
    for plugin in first.plugins:
        plugin.activate()
    prepared = prepare_splits(first.spec, first.fingerprint, first.model, ResultStore(first.sweep).data_folder)
    rows = islice(batches(len(prepared.splits["train"]), first.spec, epoch=1), STEPS)
    part = prepared.splits["train"].subset(np.concatenate(list(rows)))
    steps = first.spec.epochs * -(-len(prepared.splits["train"]) // first.spec.batch_size)
    members: list[Member] = []

    def build(count: int) -> None:
        for job in jobs[len(members) : count]:
            model = build_model(job.spec, job.model, prepared)
            members.append(Member(job.spec, model, part, torch.device(job.device)))

    def trials_per_hour(size: int) -> float:
        build(size)
        return 3600 * size / (steps * _seconds_per_step(members, clock))

    build(1)
    return measure_growing_packs(len(jobs) if packable(members) else 1, trials_per_hour, clock)


def _seconds_per_step(members: Sequence[Member], clock: Callable[[], float]) -> float:
    """Return the seconds of a warm step of a pack of ``members``."""
    pack, seconds = Pack(members), []
    for _ in range(UNTIMED + TIMED):
        for member in members:
            member.step = 0  # the same batches each time, so that none of them is new under the clock
        start = clock()
        pack.train_epoch()
        seconds.append(clock() - start)
    pack.close()
    if members[0].device.type == "cuda":
        torch.cuda.empty_cache()
    return min(seconds[UNTIMED:]) / members[0].steps_per_epoch
