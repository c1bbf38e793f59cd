"""Estimate, before a run starts, how long it will take on this machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from tunekit.commands.checks import resources_of
from tunekit.commands.output import Say
from tunekit.memory import NoClosedForm
from tunekit.parsing import how_many
from tunekit.planning import machine
from tunekit.planning.estimate import Timer, Timing
from tunekit.planning.fitting import config_of
from tunekit.planning.options import RunOptions
from tunekit.planning.peak import expected_peak
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.resources import limit_on_gpu
from tunekit.planning.sizes import dataset_sizes, shapes_of
from tunekit.planning.speed import ProcessorSpeed
from tunekit.schema import TrialSpec
from tunekit.store.frames import Frames

WHEN_KNOWN = "the run shows when it will be done once its first epochs (a search: its first trials) are trained"
"""The clause on when the time will be known, where there is no estimate."""
PATIENCE = "the estimate counts all epochs: patience may end trials before, and nobody knows when"
"""The line below an estimate of trials with patience."""


@dataclass(frozen=True)
class Device:
    """The device that trains the trials of a run."""

    name: str
    """The name for people, as in "2 cores"."""
    places: int
    """The number of trials that it trains at a time."""
    speed: ProcessorSpeed | None
    """The speed of a CPU; None for a GPU, on which only epochs on record tell the time."""
    probe: str | None = None
    """A line on the probe that may choose fewer places at the start of a grid; None without a probe."""


def joins_cluster() -> bool:
    """Return whether a sweep would join the cluster of RAY_ADDRESS. Otherwise it starts Ray on this machine."""
    return bool(os.environ.get("RAY_ADDRESS"))


def device_of(sweep: ResolvedSweep, options: RunOptions) -> Device | None:
    """Return the device that would train ``sweep``; None on a cluster, whose machines are not known here."""
    if joins_cluster():
        return None
    if not machine.has_accelerator():
        pack, threads = options.pack or 1, options.cpus_per_trial
        speed = ProcessorSpeed(machine.cpu_flops_per_second(), threads, pack)
        return Device(how_many(machine.cores(), "core"), max(1, machine.cores() // threads) * pack, speed)
    gpus = machine.gpus()
    if not gpus:
        return Device("a GPU", 1, None)
    smallest = min(gpus, key=lambda one: one.memory)
    pack = _pack_on(smallest, sweep, options)
    name = smallest.name if len(gpus) == 1 else f"{len(gpus)} x {smallest.name}"
    return Device(name, len(gpus) * pack, None, _probe_line(pack, options))


def _probe_line(pack: int, options: RunOptions) -> str | None:
    """Return the line on the probe of packs of up to ``pack`` trials; None where ``options`` fix the number."""
    if pack == 1 or options.pack is not None or options.trials_per_device != "auto":
        return None
    return f"a short probe at the start of the run chooses how many trials share a GPU, at most {pack}"


def _pack_on(gpu: machine.Gpu, sweep: ResolvedSweep, options: RunOptions) -> int:
    """Return the number of trials of ``sweep`` that share ``gpu``."""
    resources = resources_of(options)
    if options.pack is not None or options.trials_per_device != "auto":
        return options.pack or resources.trials_per_device
    sizes, peaks = dataset_sizes(sweep), []
    for spec in {spec.cell: spec for spec in sweep.specs}.values():
        config = config_of(sweep.models[spec.model])
        try:
            peaks.append(expected_peak(spec, config or {}, sizes[spec.dataset], gpu=True, with_graphs=True))
        except NoClosedForm:
            return 1
    return limit_on_gpu(resources, max(peaks), gpu.memory)[0].trials_per_device


def timer_of(sweep: ResolvedSweep, stored: Frames, device: Device | None) -> Timer:
    """Return the timer of the trials of ``sweep`` on ``device``; ``stored`` are the store's records."""
    speed = device.speed if device else None
    on_gpu = None if device is None else speed is None
    return Timer(dataset_sizes(sweep), shapes_of(sweep), stored, speed, on_gpu=on_gpu)


def say_estimate(
    trials: Sequence[tuple[TrialSpec, float]], timer: Timer, device: Device | None, options: RunOptions, say: Say
) -> Timing | None:
    """Say and return the time that ``trials``, each with its epochs left, take together on ``device``.

    Returns None where there is nothing to train, or where the time is not known. A line then says when it will be.
    """
    if not trials:
        return None
    if device is None:
        say(f"estimate: none, since the machines of the cluster are not known here; {WHEN_KNOWN}")
        return None
    at_a_time = min(device.places, options.max_concurrent or device.places, len(trials))
    timing = timer.run(trials, at_a_time)
    if timing is None:
        say(
            f"estimate: none, since no epoch of some of these models and methods on {device.name} is on record in this "
            f"sweep; {WHEN_KNOWN}"
        )
        return None
    say(f"estimate: {timing} on {device.name} ({how_many(at_a_time, 'trial')} at a time), from {timing.source}")
    if any(spec.patience for spec, _ in trials):
        say(PATIENCE)
    return timing


def epochs_left(pending: Sequence[PlannedTrial]) -> list[tuple[TrialSpec, float]]:
    """Return each trial of ``pending`` with the epochs that it has left."""
    return [(trial.spec, trial.spec.epochs - trial.epochs_done) for trial in pending]
