"""What cells of one or several tasks have in common in how their scores are named and shown."""

from collections.abc import Sequence

from analysis.cells import Cell, metric_label


def primary_label(found: Sequence[Cell]) -> str:
    """Return what ``found`` call the metrics by which their tasks choose."""
    return " / ".join(dict.fromkeys(metric_label(cell.task.primary, [cell]) for cell in found))


def in_percent(found: Sequence[Cell], metric: str | None = None) -> bool:
    """Return whether ``metric``, by default the primary one of each, is shown in percent for all of ``found``."""
    return all(cell.measure(metric or cell.task.primary).unit == "%" for cell in found)
