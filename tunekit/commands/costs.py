"""The costs of each cell of a plan: peak memory, disk of a checkpoint, and time. They are rough before data is read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from tunekit.errors import UserError
from tunekit.memory import NoClosedForm
from tunekit.models.loading import ModelRef
from tunekit.planning.disk import checkpoint_bytes
from tunekit.planning.estimate import Timer, span
from tunekit.planning.fitting import config_of
from tunekit.planning.peak import expected_batches, expected_peak
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resolve import ResolvedSweep
from tunekit.planning.sizes import DatasetSize
from tunekit.schema import TrialSpec
from tunekit.store.requests import cell_names

MIB = 2**20


@dataclass(frozen=True)
class CellCost:
    """The costs of one trial of a cell."""

    cell: str
    """The cell's key: every field of its specs but the seed, as JSON."""
    name: str
    """The cell's name for people."""
    peak_bytes: int | None
    """The peak memory: of the trial's whole process on a CPU, or the bytes that it allocates on a GPU; None where it is
    not known."""
    note: str
    """How the peak was found without a closed form, or why it was not; empty where a closed form gave it."""
    checkpoint_bytes: int
    """The bytes of disk that a checkpoint takes."""
    seconds: float | None
    """The time of a whole trial, in the middle of its range; None where no epoch is on record and there is no
    estimate."""
    seconds_low: float | None
    """The lower end of the range."""
    seconds_high: float | None
    """The upper end of the range."""
    timed_by: str
    """The source of the time, as ``Timing.source`` names it."""


def costs(sweep: ResolvedSweep, timer: Timer, *, gpu: bool) -> list[CellCost]:
    """Return the costs of each cell of ``sweep`` in order, on a CPU or, where ``gpu``, on a GPU.

    A model is built only where its memory has no closed form.
    """
    first = {spec.cell: spec for spec in reversed(sweep.specs)}
    found = []
    for cell, name in cell_names(sweep.specs).items():
        spec = first[cell]
        size, shape = timer.sizes[spec.dataset], timer.shapes[spec.model]
        peak, note = peak_of(spec, sweep.models[spec.model], size, gpu=gpu)
        timing = timer.trial(spec)
        times = (timing.seconds, timing.low, timing.high, timing.source) if timing else (None, None, None, NO_TIME)
        found.append(CellCost(cell, name, peak, note, checkpoint_bytes(spec, shape, size.num_labels), *times))
    return found


NO_TIME = "no epoch on record"


def peak_of(spec: TrialSpec, model: ModelRef, size: DatasetSize, *, gpu: bool) -> tuple[int | None, str]:
    """Return a trial's peak bytes on batches of data of ``size``, and a note where no closed form gave them."""
    config = config_of(model)
    if config is None:
        return None, "its config.json is not here yet"
    try:
        return expected_peak(spec, config, size, gpu=gpu), ""
    except NoClosedForm as reason:
        from tunekit.engine.memory_probe import measure_peak  # imports torch, which a closed form need not wait for

        largest = max(expected_batches(spec, size), key=sum)
        try:
            peak = measure_peak(config, spec, largest, size.num_labels, gpu=gpu)
            return peak, f"no closed form ({reason}): measured by a step"
        except UserError as error:
            return None, f"no closed form ({reason}), and {error}"


def describe_costs(found: Sequence[CellCost], pending: Sequence[PlannedTrial]) -> str:
    """Return a line for each cell. The source of the times is named once, if it is the same for all."""
    width = max(len(one.name) for one in found)
    sources = {one.timed_by for one in found}
    source = f", from {found[0].timed_by}" if len(sources) == 1 and found[0].seconds is not None else ""
    lines = [f"each trial: predicted peak memory, checkpoint, time{source}"]
    pending_of = Counter(trial.spec.cell for trial in pending)
    for one in found:
        peak = "memory unknown" if one.peak_bytes is None else f"{one.peak_bytes / MIB:,.0f} MiB"
        time = span(one.seconds_low, one.seconds_high) if one.seconds_low and one.seconds_high else "time unknown"
        own = "" if source else f" ({one.timed_by})"
        note = f"; {one.note}" if one.note else ""
        lines.append(
            f"  {one.name:<{width}}  {peak}, {ceil(one.checkpoint_bytes / MIB):,} MiB, {time}{own}, "
            f"{pending_of[one.cell]} to run{note}"
        )
    return "\n".join(lines)
