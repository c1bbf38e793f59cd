"""What each cell of a plan will cost: peak memory, disk of a checkpoint, and time. Rough where data is not read yet."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.data.base import DATASETS
from tunekit.errors import UserError
from tunekit.memory import BatchSizes, NoClosedForm, Shape, Work, predict
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, config_at_hand
from tunekit.parsing import how_many
from tunekit.planning import estimate, machine
from tunekit.planning.estimate import DatasetSize
from tunekit.planning.plan import PlannedTrial
from tunekit.planning.resolve import ResolvedSweep
from tunekit.schema import Status, TrialSpec
from tunekit.store.frames import Frames
from tunekit.store.requests import cell_names

if TYPE_CHECKING:
    from pandas import DataFrame

MIB = 2**20


@dataclass(frozen=True)
class CellCost:
    """What one trial of a cell costs."""

    cell: str
    """The cell's key: every field of its specs but the seed, as JSON."""
    name: str
    """The cell's name for people."""
    peak_bytes: int | None
    """The memory of weights, optimizer and one step; None where it is not known."""
    note: str
    """How the peak was found, or why not, where no closed form gave it; else empty."""
    checkpoint_bytes: int
    """The disk that a checkpoint takes."""
    seconds: float | None
    """The time of a whole trial; None where there is neither an earlier trial nor a way to estimate."""
    timed_by: str
    """What the time comes from."""


def costs(sweep: ResolvedSweep, stored: Frames, accelerator: bool) -> list[CellCost]:
    """Return the costs of each cell of ``sweep`` in order, timed by what is ``stored``.

    A model is built only where its memory has no closed form.
    """
    names, sizes = cell_names(sweep.specs), estimate.dataset_sizes(sweep)
    earlier = Earlier(stored.trials, sizes)
    rate = None if accelerator else estimate.EFFICIENCY * machine.cpu_flops_per_second() / machine.cores()
    first = {spec.cell: spec for spec in reversed(sweep.specs)}
    found = []
    for cell, name in names.items():
        spec = first[cell]
        own = sweep.own_data.get(spec.dataset)
        num_labels = len(own.label_names if own else DATASETS[spec.dataset].label_names)
        peak, note = peak_of(spec, sweep.models[spec.model], sizes[spec.dataset], num_labels, gpu=accelerator)
        seconds, timed_by = seconds_of(spec, earlier, sizes, rate)
        found.append(CellCost(cell, name, peak, note, estimate.checkpoint_bytes(spec, num_labels), seconds, timed_by))
    return found


def peak_of(
    spec: TrialSpec, model: ModelRef, size: DatasetSize, num_labels: int, *, gpu: bool
) -> tuple[int | None, str]:
    """Return a trial's peak bytes on batches of usual lengths, and a note where no closed form gave them."""
    longest = min(size.longest, spec.max_length)
    sequences = min(spec.batch_size, spec.train_limit or size.train)
    # Texts are not read for this: a quarter of a batch is as long as the longest, the others as the mean.
    quarter = -(-sequences // 4)
    lengths = (longest,) * quarter + (min(round(size.tokens), longest),) * (sequences - quarter)
    config = MODELS[model.name].shape.to_config() if model.name in MODELS else config_at_hand(model)
    if config is None:
        return None, "its config.json is not here yet"
    try:
        work = Work(
            shape=Shape.from_config(config), method=spec.method, params=spec.method_params, num_labels=num_labels,
            sizes=BatchSizes.from_lengths(lengths, gpu=gpu), precision=spec.precision, gpu=gpu,
        )  # fmt: skip
        return predict(work).peak, ""
    except NoClosedForm as reason:
        from tunekit.engine.memory_probe import measure_peak  # torch: seconds that a closed form need not wait

        try:
            return measure_peak(config, spec, lengths, num_labels), f"no closed form ({reason}): measured by a step"
        except UserError as error:
            return None, f"no closed form ({reason}), and {error}"


class Earlier:
    """Seconds that completed trials took, by cell, and seconds an operation, by kind (model and method)."""

    def __init__(self, trials: "DataFrame", sizes: Mapping[str, DatasetSize]) -> None:
        """``trials`` are a store's (``Frames``); those of datasets that are not in ``sizes`` have no kind."""
        timed = trials[(trials["status"] == Status.COMPLETED.value) & (trials["train_seconds"] > 0)]
        self.cells: dict[str, list[float]] = {
            str(cell): list(group) for cell, group in timed.groupby("cell")["train_seconds"]
        }
        self.kinds: dict[tuple[str, str], list[float]] = {}
        for cell, seconds in self.cells.items():
            values = json.loads(cell)
            if values["dataset"] in sizes and "settings" not in values:  # which imported trials have
                spec = TrialSpec.from_dict({**values, "seed": 0})
                flops = estimate.flops(spec, sizes)
                self.kinds.setdefault((spec.model, spec.method), []).extend(each / flops for each in seconds)


def seconds_of(
    spec: TrialSpec, earlier: Earlier, sizes: Mapping[str, DatasetSize], flops_per_second: float | None
) -> tuple[float | None, str]:
    """Return the seconds of a trial, None where nothing tells them, and what they come from.

    Earlier trials of its cell tell them; else earlier trials of its model and method, in proportion to the operations;
    else its own operations at ``flops_per_second``.
    """
    work = estimate.flops(spec, sizes)
    if same := earlier.cells.get(spec.cell):
        return sum(same) / len(same), how_many(len(same), "earlier trial")
    if alike := earlier.kinds.get((spec.model, spec.method)):
        return work * sum(alike) / len(alike), f"{how_many(len(alike), 'earlier trial')} of its kind"
    if flops_per_second is None:
        return None, "no earlier trial"
    return work / flops_per_second, "a probe of the processor"


def describe_costs(found: Sequence[CellCost], pending: Sequence[PlannedTrial]) -> str:
    """Return a line for each cell."""
    width = max(len(one.name) for one in found)
    lines = ["each trial: predicted peak memory, checkpoint, time"]
    pending_of = Counter(trial.spec.cell for trial in pending)
    for one in found:
        peak = "unknown" if one.peak_bytes is None else f"{one.peak_bytes / MIB:,.0f} MiB"
        time = "unknown" if one.seconds is None else f"{one.seconds / 60:,.1f} min"
        note = f"; {one.note}" if one.note else ""
        lines.append(
            f"  {one.name:<{width}}  {peak}, {one.checkpoint_bytes / MIB:,.0f} MiB, {time} ({one.timed_by}), "
            f"{pending_of[one.cell]} to run{note}"
        )
    return "\n".join(lines)
