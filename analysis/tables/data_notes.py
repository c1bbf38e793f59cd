"""The lines on its datasets below a score table."""

from collections.abc import Sequence

from analysis.cells import Cell
from analysis.names import PER_CLASS, SPLITS, listed


def data_notes(cells: Sequence[Cell], metric: str) -> tuple[str, ...]:
    """Return the lines on the datasets of ``cells``: their parts, and the classes that they lack."""
    named: dict[str, list[str]] = {}
    for cell in {cell.dataset: cell for cell in cells if cell.data_note}.values():
        named.setdefault(cell.data_note, []).append(cell.dataset_name)
    return (*(f"{listed(names)}: {note}." for note, names in named.items()), *_absent_notes(cells, metric))


def _absent_notes(cells: Sequence[Cell], metric: str) -> tuple[str, ...]:
    """Return a line for each dataset whose split lacks classes: which, and the highest value possible of ``metric``."""
    if metric not in ("macro_f1", PER_CLASS):
        return ()
    lines = []
    for cell in {cell.dataset: cell for cell in cells if cell.absent}.values():
        number, total = len(cell.absent), len(cell.label_names)
        names = ", ".join(cell.absent)
        said = f"The {SPLITS[cell.split]} split of {cell.dataset_name} lacks {number} of {total} classes ({names})"
        most = f"which count as F1 = 0: no model can reach more than {100 * (total - number) / total:.2f}"
        over = "macro_f1_present is the mean over the classes that occur"
        lines.append(f"{said}, {most}; {over}." if metric == "macro_f1" else f"{said}, whose F1 is 0 for every model.")
    return tuple(lines)
