"""The names that figures give the cells of one dataset, their seeds and their splits."""

from collections.abc import Sequence

from analysis.cells import Cell
from analysis.names import SPLITS, numbered


def row_labels(members: Sequence[Cell]) -> list[str]:
    """Return a label for each cell of one dataset, no two the same: those of model, method and variant that differ."""
    parts = [(cell.model_name, cell.method_name, cell.variant) for cell in members]
    shown = [place for place in range(3) if len({part[place] for part in parts}) > 1] or [0, 1]
    return numbered([" · ".join(filter(None, (part[place] for place in shown))) or part[1] for part in parts])


def seeds_text(members: Sequence[Cell]) -> str:
    """Return ``n = 5 seeds``, ``n = 3 of 5 seeds``, or for cells that differ ``n = 3 to 5 seeds``."""
    counts = sorted({len(cell.completed) for cell in members})
    requested = sorted({len(cell.expected) for cell in members})
    n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    of = f" of {requested[0]}" if len(counts) == len(requested) == 1 and requested != counts else ""
    return f"n = {n}{of} seed{'' if n == '1' and not of else 's'}"


def splits_text(members: Sequence[Cell]) -> str:
    """Return the splits on which the cells were scored: ``test``, or ``test or validation``."""
    return " or ".join(dict.fromkeys(SPLITS[cell.split] for cell in members))
