"""The estimate of the time that is left, from the durations of the epochs so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

TrialKind = tuple[str, str, str]
"""Model, dataset and method. The epochs of trials of one kind take about the same time."""


class Spec(Protocol):
    """The spec of a trial, ours or an imported one."""

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
    """How fast the trials of one kind are, and how much of them is left."""

    seconds: float = 0.0
    """The seconds that the epochs so far took in all."""
    num_epochs: int = 0
    """The number of epochs so far."""
    epochs_left: int = 0
    """The number of epochs that are still to be trained."""


def remaining_seconds(
    paces: Mapping[TrialKind, Pace], slots: int, running: Iterable[tuple[TrialKind, float]] = ()
) -> float | None:
    """Return the seconds until all epochs are trained, ``slots`` trials at a time; None before the first epoch ends.

    ``running`` has, for each trial under way, its kind and the seconds that its present epoch has taken so far. A kind
    without an epoch so far is given the mean of the other kinds.
    """
    seconds_per_epoch = {kind: pace.seconds / pace.num_epochs for kind, pace in paces.items() if pace.num_epochs}
    if not seconds_per_epoch:
        return None
    mean = sum(seconds_per_epoch.values()) / len(seconds_per_epoch)
    total = sum(seconds_per_epoch.get(kind, mean) * pace.epochs_left for kind, pace in paces.items())
    total -= sum(min(seconds_per_epoch.get(kind, mean), elapsed) for kind, elapsed in running)
    return round(max(0.0, total) / max(1, slots), 1)


def clock(seconds: float) -> str:
    """Return seconds as 1:02:03 or 2:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
