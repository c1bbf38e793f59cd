"""When trials will be done, from the seconds of the epochs that were seen."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

Kind = tuple[str, str, str]
"""Model, dataset and method: trials of one kind take alike."""


class Named(Protocol):
    """A spec, ours or an imported one."""

    model: str
    dataset: str
    method: str


def kind_of(spec: Named) -> Kind:
    """The kind of a trial."""
    return spec.model, spec.dataset, spec.method


def remaining_seconds(
    seen: Mapping[Kind, Sequence[float]], left: Iterable[tuple[Kind, int, float]], slots: int
) -> float | None:
    """Seconds until all is done with ``slots`` trials at a time; None where no epoch was ``seen``.

    ``left`` has for each trial its kind, the epochs left, and the seconds that its present one has taken. A kind that
    was not seen yet counts with the mean of those that were.
    """
    mean = {kind: sum(values) / len(values) for kind, values in seen.items() if values}
    if not mean:
        return None
    overall = sum(mean.values()) / len(mean)
    total = 0.0
    for kind, epochs, elapsed in left:
        each = mean.get(kind, overall)
        total += each * epochs - min(each, elapsed)
    return round(max(0.0, total) / max(1, slots), 1)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
