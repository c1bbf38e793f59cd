"""Estimate the time until a sweep is done, from the durations of the epochs so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

TrialKind = tuple[str, str, str]
"""Model, dataset and method. The epochs of trials of one kind take about the same time."""


class Spec(Protocol):
    """The fields of a TrialSpec or an ImportedSpec that an estimate needs."""

    @property
    def model(self) -> str:
        """The name of the model."""

    @property
    def dataset(self) -> str:
        """The name of the dataset."""

    @property
    def method(self) -> str:
        """The name of the method."""


def kind_of(spec: Spec) -> TrialKind:
    """Return the kind of a trial."""
    return spec.model, spec.dataset, spec.method


@dataclass
class Pace:
    """How long the epochs of the trials of one kind took, and how many epochs are left."""

    seconds: float = 0.0
    """The total seconds of the epochs so far."""
    num_epochs: int = 0
    """The number of epochs so far."""
    epochs_left: int = 0
    """The number of epochs that are still to be trained."""


def remaining_seconds(
    paces: Mapping[TrialKind, Pace], slots: int, running: Iterable[tuple[TrialKind, float]] = ()
) -> float | None:
    """Return the seconds until all epochs are trained; None if no epoch has ended yet.

    ``slots`` is the number of trials that train at a time. ``running`` holds, for each trial that trains now, its kind
    and the seconds that its present epoch has taken so far. A kind without an epoch so far is assumed to take as long
    as the mean of the other kinds.
    """
    seconds_per_epoch = {kind: pace.seconds / pace.num_epochs for kind, pace in paces.items() if pace.num_epochs}
    if not seconds_per_epoch:
        return None
    mean = sum(seconds_per_epoch.values()) / len(seconds_per_epoch)
    total = sum(seconds_per_epoch.get(kind, mean) * pace.epochs_left for kind, pace in paces.items())
    total -= sum(min(seconds_per_epoch.get(kind, mean), elapsed) for kind, elapsed in running)
    return round(max(0.0, total) / max(1, slots), 1)


def clock(seconds: float) -> str:
    """Return seconds as a text with hours, minutes and seconds, 1:02:03, or without hours, 2:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
