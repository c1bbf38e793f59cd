"""Tables of cells for people."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from analysis.aggregate import Cell, cells
from tunekit.schema import TrialSpec
from tunekit.store import ResultStore

METRICS = ("accuracy", "macro_f1")


def percent(cell: Cell) -> str:
    """``mean ± std (n)`` in percent with two decimals; n as ``4/5`` where seeds are missing, failures named."""
    n = str(len(cell.values)) if len(cell.values) == cell.expected else f"{len(cell.values)}/{cell.expected}"
    failed = "".join(f", {count} {status.value}" for status, count in Counter(cell.failures).items())
    if cell.mean is None:
        return f"- (n={n}{failed})"
    spread = "" if cell.std is None else f" ± {100 * cell.std:.2f}"
    return f"{100 * cell.mean:.2f}{spread} (n={n}{failed})"


def grid_table(store: ResultStore, specs: Sequence[TrialSpec]) -> Table:
    """One row a configuration and model, one column a dataset and metric, scores of the last epoch.

    The test split, or validation where test is sealed; the title says which.
    """
    split = "test" if all(spec.score_test for spec in specs) else "val"
    datasets = list(dict.fromkeys(spec.dataset for spec in specs))
    rows: dict[str, dict[tuple[str, str], Cell]] = {}
    common = _varying(specs)
    for metric in METRICS:
        for cell in cells(store, specs, f"{split}_{metric}"):
            rows.setdefault(_row_name(cell.spec, common), {})[cell.spec.dataset, metric] = cell
    title = f"{store.root.name}: {split}, last epoch, percent, mean ± sample std over seeds"
    table = Table(title=title, title_justify="left")
    table.add_column("configuration", no_wrap=True)
    columns = [(dataset, metric) for dataset in datasets for metric in METRICS]
    shown = store.display_names()
    for dataset, metric in columns:
        table.add_column(f"{shown.get(dataset, dataset)} {metric.replace('_f1', '-F1')}", justify="right", no_wrap=True)
    for name, found in rows.items():
        table.add_row(name, *(percent(found[key]) if key in found else "" for key in columns))
    return table


def print_grid(store: ResultStore, specs: Sequence[TrialSpec]) -> None:
    """Print ``grid_table`` to standard output, never cut to a narrow width."""
    table = grid_table(store, specs)
    width = Console(width=10_000).measure(table).maximum
    Console(highlight=False, width=max(width, 80)).print(table)


def _row_name(spec: TrialSpec, varying: Sequence[str]) -> str:
    """Model and method, and those settings in which the sweep's configurations differ."""
    values = _settings(spec)
    extra = [f"{name} {values[name]}" for name in varying if name in values]
    return ", ".join([f"{spec.model} · {spec.method}", *extra])


def _settings(spec: TrialSpec) -> dict[str, object]:
    values = spec.to_dict()
    params = values.pop("method_params")
    return {k: v for k, v in {**values, **params}.items() if k not in ("model", "dataset", "method", "seed")}


def _varying(specs: Sequence[TrialSpec]) -> list[str]:
    """Settings that differ within one model, dataset and method."""
    seen: dict[tuple[str, str, str], dict[str, set[str]]] = {}
    for spec in specs:
        group = seen.setdefault((spec.model, spec.dataset, spec.method), {})
        for name, value in _settings(spec).items():
            group.setdefault(name, set()).add(str(value))
    return list(dict.fromkeys(name for group in seen.values() for name, values in group.items() if len(values) > 1))
