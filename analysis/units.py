"""The common names and units of the scores of cells, which may be of several tasks."""

from collections.abc import Sequence

from analysis.cells import Cell, metric_label
from analysis.names import PRIMARY
from tunekit.tasks import TASKS
from tunekit.tasks.bio import types_of


def primary_label(found: Sequence[Cell]) -> str:
    """Return the names in ``found`` of the metrics by which their tasks choose."""
    return " / ".join(dict.fromkeys(metric_label(cell.task.primary, [cell]) for cell in found))


def primary_of(found: Sequence[Cell]) -> str:
    """Return the primary metric of the datasets of ``found``, ``PRIMARY`` where they have several."""
    names = {cell.task.primary for cell in found}
    return names.pop() if len(names) == 1 else PRIMARY


def in_percent(found: Sequence[Cell], metric: str | None = None) -> bool:
    """Return whether ``metric``, by default the primary one of each, is shown in percent for all of ``found``."""
    return all(cell.measure(metric or cell.task.primary).unit == "%" for cell in found)


def reported_metrics(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return the metrics that the tasks of ``cells`` report, each once; those of classification without cells.

    Where datasets have different primary metrics, the first is ``PRIMARY``, so that one table has all of them. It is
    followed by the metrics that the tasks of all datasets report.
    """
    tasks = [cell.task for cell in cells] or [TASKS["classification"]]
    first = [PRIMARY] if cells and primary_of(cells) == PRIMARY else []
    reported = [name for task in tasks for name in (TASKS[task.name] if first else task).reported]
    return tuple(dict.fromkeys([*first, *reported]))


def by_task(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return the cells of each task. Datasets of different tasks share no table."""
    names = dict.fromkeys(cell.task.name for cell in cells)
    return [[cell for cell in cells if cell.task.name == name] for name in names]


def row_name(cell: Cell, *, one_model: bool) -> str:
    """Return the name of a row: its method, after its model unless all rows are of ``one_model``."""
    return cell.method_name if one_model else f"{cell.model_name} · {cell.method_name}"


def class_scores(cell: Cell) -> dict[str, str]:
    """Return the name of each class, or type of entity, by the name of the metric that is its F1."""
    if cell.task.form == "tags":
        return {f"f1_{kind}": kind for kind in types_of(cell.label_names)}
    return {f"f1:{number}": name for number, name in enumerate(cell.label_names)}
