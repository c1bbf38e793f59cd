"""A sweep's state from its store alone: cells x seeds as a grid, from any machine that sees the storage."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from tunekit.errors import UserError
from tunekit.lease import holder_line
from tunekit.records import spec_of
from tunekit.schema import Status, TrialSpec
from tunekit.storage import Place
from tunekit.store import ImportedSpec, ResultStore, StoredTrial

MARKS = {
    Status.COMPLETED: "[green]done[/]",
    Status.STOPPED: "[yellow]stopped[/]",
    Status.DIVERGED: "[red]diverged[/]",
    Status.OUT_OF_MEMORY: "[red]no memory[/]",
    Status.FAILED: "[red]failed[/]",
}
ALWAYS = ("model", "dataset", "method")


def cell_names(specs: Sequence[TrialSpec | ImportedSpec]) -> dict[str, str]:
    """A short name for each cell: model, dataset, method, and those other fields in which the cells differ."""
    fields = {spec.cell: _fields(spec) for spec in specs}
    names = [name for name in dict.fromkeys(key for values in fields.values() for key in values) if name not in ALWAYS]
    result = {}
    for cell, values in fields.items():
        alike = [other for other in fields.values() if all(other[key] == values[key] for key in ALWAYS)]
        differing = [name for name in names if len({str(other.get(name)) for other in alike}) > 1]
        extra = [f"{name} {values[name]}" for name in differing if values.get(name) is not None]
        result[cell] = ", ".join([" · ".join(values[key] for key in ALWAYS), *extra])
    return result


def _fields(spec: TrialSpec | ImportedSpec) -> dict[str, Any]:
    values = {name: value for name, value in spec.to_dict().items() if name != "seed"}
    extra = values.pop("method_params", {}) | values.pop("settings", {})
    return values | extra


def requested_specs(requests: Sequence[Mapping[str, Any]]) -> list[TrialSpec | ImportedSpec]:
    """Every trial that was ever asked for, each once, in order."""
    specs: dict[str, TrialSpec | ImportedSpec] = {}
    for request in requests:
        for cell in request.get("cells", []):
            for seed in cell["seeds"]:
                spec = spec_of(cell, seed)
                specs.setdefault(spec.trial_id, spec)
    return list(specs.values())


def cells_of(specs: Sequence[TrialSpec]) -> list[dict[str, Any]]:
    """``specs`` as cells with their seeds, the form of a request in sweep.json."""
    cells: dict[str, dict[str, Any]] = {}
    for spec in specs:
        values = spec.to_dict()
        seed = values.pop("seed")
        cells.setdefault(spec.cell, {**values, "seeds": []})["seeds"].append(seed)
    return list(cells.values())


def _mark(trial: StoredTrial | None, spec: TrialSpec | ImportedSpec) -> str:
    if trial is None:
        return "[dim]-[/]"
    if trial.summary is None:
        return f"[cyan]{len(trial.epochs)}/{spec.epochs}[/]"
    return MARKS[trial.summary.status]


def _study_lines(store: ResultStore) -> list[str]:
    """A line a study of a search: its trials, and the best score so far."""
    search = store.search()
    lines = []
    for study in search.studies if search else ():
        best = max((trial.values[0] for trial in study.trials if trial.values), default=None)
        score = "" if best is None else f", best {study.objectives[0]} on validation {100 * best:.2f} %"
        where = f"{study.model} · {study.dataset} · {study.method}"
        lines.append(f"study {where}: {len(study.trials)} of {study.planned} trials ended{score}")
    return lines


def status_table(root: Place) -> tuple[Table, list[str]]:
    """The grid of states of the sweep at ``root``, and lines to print under it. Raises UserError if none."""
    store = ResultStore(root)
    requests = store.requests()
    if not requests:
        raise UserError(f"{root} holds no sweep (no sweep.json); give the folder that holds it, as in ray_results/demo")
    specs = requested_specs(requests)
    stored, damaged = store.trials()
    newest = {trial.spec.trial_id: trial for trial in stored if trial.folder.name == trial.spec.folder}
    seeds = sorted({spec.seed for spec in specs})
    names = cell_names(specs)
    by_cell = {(spec.cell, spec.seed): spec for spec in specs}
    table = Table(title=escape(f"{root.name}: {len(specs)} trials"), title_justify="left")
    table.add_column("cell")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="center")
    for cell, name in names.items():
        marks = []
        for seed in seeds:
            spec = by_cell.get((cell, seed))
            marks.append("" if spec is None else _mark(newest.get(spec.trial_id), spec))
        table.add_row(escape(name), *marks)
    lines = [f"driver: {holder_line(root)}", *_study_lines(store)]
    stale = len(stored) - len(newest)
    if stale:
        lines.append(f"{stale} stale trials of other code, data or weights are kept and left out")
    for spec in specs:
        trial = newest.get(spec.trial_id)
        if trial and trial.summary and trial.summary.error:
            lines.append(f"{spec.label}: {trial.summary.status.value}: {trial.summary.error.splitlines()[0]}")
    return table, lines + [f"damaged: {line}" for line in damaged]
