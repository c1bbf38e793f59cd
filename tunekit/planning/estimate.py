"""Estimate the time of a sweep, by epochs on record where there are some, else by its work and a processor's speed."""

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunekit.data.base import DATASETS
from tunekit.memory import Shape
from tunekit.parsing import how_many
from tunekit.planning.sizes import DatasetSize, declared_size
from tunekit.planning.speed import MARGIN, SOURCE, EpochWork, ProcessorSpeed, epoch_work, last_scoring
from tunekit.schema import TrialSpec
from tunekit.store.frames import Frames

START_SECONDS = 20.0
"""The seconds in which the command, Ray and its first worker processes start, on two cores."""
BUILD_SECONDS = 0.5
"""The seconds in which a trial's data and model are read."""
SAME_MARGIN, ALIKE_MARGIN = 1.25, 1.5
"""The factors by which a time may be off if it comes from epochs of the same cell, or of the same model and method."""


@dataclass(frozen=True)
class Timing:
    """An estimated time, its margin, and its source."""

    seconds: float
    margin: float
    """The factor by which the time may be shorter or longer."""
    source: str
    """The source of the estimate, as in "a probe of the processor"."""

    @property
    def low(self) -> float:
        """The fewest seconds that are likely."""
        return self.seconds / self.margin

    @property
    def high(self) -> float:
        """The most seconds that are likely."""
        return self.seconds * self.margin

    def __str__(self) -> str:
        return span(self.low, self.high)


class Timer:
    """Tells how long trials take."""

    def __init__(
        self,
        sizes: Mapping[str, DatasetSize],
        shapes: Mapping[str, Shape],
        stored: Frames,
        speed: ProcessorSpeed | None,
        *,
        on_gpu: bool | None = None,
    ) -> None:
        """``sizes`` of datasets and ``shapes`` of models are by name; ``stored`` are the store's records.

        ``speed`` is that of this machine's processor, None where a GPU or a cluster trains. ``on_gpu`` says which
        epochs on record count: with True those trained on a GPU, with False those trained on a CPU, with None all.
        """
        self.sizes, self.shapes, self.speed = sizes, shapes, speed
        self.cells = _seconds_by_cell(stored, on_gpu=on_gpu)
        self.kinds = self._seconds_by_kind()

    def epoch(self, spec: TrialSpec) -> Timing | None:
        """Return the time of an epoch of ``spec``; None where nothing is known about it.

        It comes from epochs of the same cell; else from epochs of the same model and method, in proportion to the work;
        else from the work at the speed of the processor.
        """
        work = epoch_work(spec, self.shapes[spec.model], self.sizes[spec.dataset])
        if same := self.cells.get(spec.cell):
            return Timing(sum(same) / len(same), SAME_MARGIN, how_many(len(same), "recorded epoch"))
        if alike := self.kinds.get((spec.model, spec.method)):
            seconds = self._relative(work) * sum(alike) / len(alike)
            return Timing(seconds, ALIKE_MARGIN, f"{how_many(len(alike), 'recorded epoch')} of its model and method")
        if self.speed is None:
            return None
        return Timing(self.speed.seconds(work), MARGIN, SOURCE)

    def trial(self, spec: TrialSpec, epochs: float | None = None) -> Timing | None:
        """Return the time of ``epochs`` of ``spec``, by default all, with the trial's start and end."""
        epoch = self.epoch(spec)
        if epoch is None:
            return None
        seconds = BUILD_SECONDS + (spec.epochs if epochs is None else epochs) * epoch.seconds
        if self.speed is not None:
            seconds += self.speed.seconds(last_scoring(spec, self.shapes[spec.model], self.sizes[spec.dataset]))
        return Timing(seconds, epoch.margin, epoch.source)

    def run(self, trials: Sequence[tuple[TrialSpec, float]], at_a_time: int) -> Timing | None:
        """Return the time of ``trials``, each with its epochs left, if ``at_a_time`` of them run at a time.

        Returns None where nothing is known about the time of one of them.
        """
        timings = {key: self.trial(spec, epochs) for spec, epochs in trials for key in [(spec.cell, epochs)]}
        found = [timings[spec.cell, epochs] for spec, epochs in trials]
        known = [timing for timing in found if timing is not None]
        if len(known) < len(found):
            return None
        seconds = START_SECONDS + makespan([timing.seconds for timing in known], at_a_time)
        sources = dict.fromkeys("recorded epochs" if "recorded" in one.source else one.source for one in known)
        margin = max((timing.margin for timing in known), default=1.0)
        return Timing(seconds, margin, " and ".join(sources))

    def _relative(self, work: EpochWork) -> float:
        """Return a number to which the seconds of ``work`` are in proportion."""
        return self.speed.seconds(work) if self.speed else float(work.steps * work.layers)

    def _seconds_by_kind(self) -> dict[tuple[str, str], list[float]]:
        """Return the seconds of each epoch on record over its relative work, by model and method."""
        found: dict[tuple[str, str], list[float]] = {}
        for cell, seconds in self.cells.items():
            values = json.loads(cell)
            if "settings" in values or values["model"] not in self.shapes:  # an imported trial's cell has settings
                continue
            spec = TrialSpec.from_dict({**values, "seed": 0})
            size = self.sizes.get(spec.dataset) or (declared_size(spec.dataset) if spec.dataset in DATASETS else None)
            if size is not None:
                work = self._relative(epoch_work(spec, self.shapes[spec.model], size))
                found.setdefault((spec.model, spec.method), []).extend(one / work for one in seconds)
        return found


def _seconds_by_cell(stored: Frames, *, on_gpu: bool | None) -> dict[str, list[float]]:
    """Return the seconds of each epoch on record by cell."""
    cells = {}
    for folder, cell, execution in stored.trials[["folder", "cell", "execution"]].itertuples(index=False):
        device = json.loads(execution).get("device") if isinstance(execution, str) else None
        if None in (device, on_gpu) or (device != "cpu") == on_gpu:
            cells[folder] = cell
    found: dict[str, list[float]] = {}
    for folder, seconds in stored.epochs[["folder", "epoch_seconds"]].itertuples(index=False):
        if folder in cells and seconds > 0:  # False for NaN, which an epoch without a time has
            found.setdefault(cells[folder], []).append(float(seconds))
    return found


def makespan(seconds: Sequence[float], at_a_time: int) -> float:
    """Return the seconds until the last of some trials ends. Each begins, in order, as soon as a place is free."""
    free = [0.0] * max(1, at_a_time)
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


UNITS = ((60, 90, "minute"), (3600, 48, "hour"))
"""The seconds of each unit, the most of it in which a time is given, and its name. Longer times are given in days."""
DAY = 24 * 3600


def span(low: float, high: float) -> str:
    """Return a range of seconds for people, as in "25 to 60 minutes"; "under a minute" where it is short."""
    if high < 60:
        return "under a minute"
    unit, name = next(((unit, name) for unit, most, name in UNITS if high <= unit * most), (DAY, "day"))
    least, most = _rounded(low / unit, fraction=unit > 60), _rounded(high / unit, fraction=unit > 60)
    names = name if most == "1" else f"{name}s"
    if least in ("0", most):
        return f"{'up to' if least == '0' else 'about'} {most} {names}"
    return f"{least} to {most} {names}"


def _rounded(number: float, *, fraction: bool) -> str:
    """Return a number with two digits. With ``fraction``, a number below 3 has one of them behind the point."""
    if fraction and number < 3:
        return f"{number:.1f}".removesuffix(".0")
    step = 1 if number < 20 else 5 if number < 100 else 10 ** (len(str(int(number))) - 2)
    return f"{round(number / step) * step:,}"
