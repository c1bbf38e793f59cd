"""When trials will be done, from the seconds of the epochs that were seen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

TrialKind = tuple[str, str, str]
"""Model, dataset and method: trials of one kind take alike."""


class Named(Protocol):
    """A spec, ours or an imported one."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def dataset(self) -> str:
        """The dataset's name."""

    @property
    def method(self) -> str:
        """The method's name."""


def kind_of(spec: Named) -> TrialKind:
    """The kind of a trial."""
    return spec.model, spec.dataset, spec.method


@dataclass
class Pace:
    """Of all trials of one kind: what was seen and what is left."""

    seconds: float = 0.0
    """Of the epochs seen."""
    num_epochs: int = 0
    epochs_left: int = 0


def remaining_seconds(
    paces: Mapping[TrialKind, Pace], slots: int, running: Iterable[tuple[TrialKind, float]] = ()
) -> float | None:
    """Seconds until all is done with ``slots`` trials at a time; None where no epoch was seen.

    ``running`` has the kind of each trial under way and the seconds that its present epoch has taken. A kind that was
    not seen yet counts with the mean of those that were.
    """
    mean = {kind: pace.seconds / pace.num_epochs for kind, pace in paces.items() if pace.num_epochs}
    if not mean:
        return None
    overall = sum(mean.values()) / len(mean)
    total = sum(mean.get(kind, overall) * pace.epochs_left for kind, pace in paces.items())
    total -= sum(min(mean.get(kind, overall), elapsed) for kind, elapsed in running)
    return round(max(0.0, total) / max(1, slots), 1)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
