"""paper.yaml: what a paper shows of its sweeps. It is read strictly; each mistake is one line that names its place.

sweeps: [ray_results/main_grid]            # beside this file
select: last                               # or best-val
metrics: [accuracy, macro_f1]              # for tables that are not listed; what the tasks report where left out
names: {roberta: RoBERTa-base, acl_arc: ACL}
claims: claims.yaml                        # the study's nine where left out
figures: [curves, overview]                # all kinds where left out
tables:                                    # the usual ones where left out
  - stem: peft
    caption: Full fine-tuning against PEFT on RoBERTa.
    metric: macro_f1
    columns: [acl_arc, restaurant]
    rows:
      - {model: roberta, method: full}
      - {model: roberta, method: lora, r: 32, label: LoRA}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.cells import Cell
from analysis.compare import Score, score_of
from analysis.configurations import Configurations, choose, configuration_of
from analysis.epoch_choice import SELECTIONS
from analysis.names import PER_CLASS
from analysis.report.report import KINDS
from analysis.tables.data_notes import data_notes
from analysis.tables.specs import check_metric, choice_notes
from analysis.tables.table import TableRow, TableSpec
from analysis.units import reported_metrics
from tunekit.errors import UserError
from tunekit.parsing import number, read_yaml
from tunekit.schema import Scalar, slug
from tunekit.storage.paths import Place, location

_KEYS = {"sweeps", "select", "metrics", "names", "claims", "figures", "tables"}
_TABLE_KEYS = {"stem", "caption", "metric", "columns", "rows"}


@dataclass(frozen=True)
class RowSpec:
    """The cells of one row: every field named here has this value."""

    wanted: Mapping[str, Scalar]
    label: str | None
    """The row's label; without one it is the method's name, or the model's where all rows are of one method."""


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper."""

    stem: str
    caption: str
    metric: str
    columns: tuple[str, ...]
    """The datasets."""
    rows: tuple[RowSpec, ...]


@dataclass(frozen=True)
class Paper:
    """The content of paper.yaml."""

    sweeps: tuple[Place, ...]
    select: str
    metrics: tuple[str, ...]
    """The metrics of the usual tables; empty for those that the tasks of the trials report."""
    names: Mapping[str, str]
    claims: Path | None
    figures: tuple[str, ...]
    tables: tuple[PaperTable, ...]
    """The paper's own tables; empty for the usual tables."""


def read_paper(path: Path) -> Paper:
    """Return the paper of a YAML file.

    Raises UserError, which names the file and the place, for anything that is not as above.
    """
    content = read_yaml(path, str(path))
    try:
        return _paper(content, path.parent)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def table_specs(paper: Paper, found: Sequence[Cell]) -> list[TableSpec]:
    """Return the paper's own tables.

    Where a row fits several configurations on a dataset, it shows the one that validation chose. Raises UserError where
    a row fits no cell, or several among which validation can't choose, and for a metric that their tasks lack.
    """
    return [_table_spec(table, found) for table in paper.tables]


def metrics_of(paper: Paper, found: Sequence[Cell]) -> tuple[str, ...]:
    """Return the metrics of the usual tables. Raises UserError for one that no task of the trials has."""
    for metric in paper.metrics:
        _check_metric(metric, found, "metrics")
    return paper.metrics or reported_metrics(found)


def _check_metric(metric: str, found: Sequence[Cell], place: str) -> None:
    try:
        check_metric(metric, found)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _table_spec(table: PaperTable, found: Sequence[Cell]) -> TableSpec:
    shown = [cell for cell in found if not cell.searched]
    by_row: list[list[Configurations]] = []
    for number_of, row in enumerate(table.rows, 1):
        place = f"table {table.stem}, row {number_of}"
        fitting = [cell for cell in shown if cell.dataset in table.columns and _fits(cell, row.wanted)]
        if not fitting:
            wanted = ", ".join(f"{name}: {number(value)}" for name, value in row.wanted.items())
            there = "; ".join(dict.fromkeys(f"{cell.model} {cell.method}" for cell in shown))
            raise UserError(f"{place} ({wanted}) fits no cell; there are {there}")
        same = [[cell for cell in fitting if cell.dataset == dataset] for dataset in table.columns]
        by_row.append([_one_of(cells, place) for cells in same if cells])
    every = [one for row in by_row for one in row]
    _check_metric(table.metric, [one.first for one in every], f"table {table.stem}")
    first = [row[0].first for row in by_row]
    one_method = len({cell.method for cell in first}) == 1
    rows = [
        TableRow(
            spec.label or (cell.model_name if one_method else cell.method_name),
            {one.first.dataset: _score(one, table.metric, every, shown) for one in row},
        )
        for spec, cell, row in zip(table.rows, first, by_row, strict=True)
    ]
    headings = {one.first.dataset: one.first.dataset_name for one in every}
    columns = {dataset: headings.get(dataset, dataset) for dataset in table.columns}
    cells = [one.chosen for one in every if one.chosen]
    notes = (*choice_notes(every), *data_notes(cells, table.metric))
    return TableSpec(table.stem, table.caption, table.metric, tuple(rows), columns, notes)


def _one_of(cells: Sequence[Cell], place: str) -> Configurations:
    """Return the choice among the cells of one dataset that a row fits."""
    if len({(cell.model, cell.method) for cell in cells}) > 1:
        names = "; ".join(f"{cell.model} {cell.method}" for cell in cells)
        raise UserError(f"{place} fits {len(cells)} cells of {cells[0].dataset}: {names}; name a field that differs")
    choice = choose(cells)
    if choice.chosen is None:
        variants = "; ".join(cell.variant or cell.fingerprint for cell in choice.cells)
        raise UserError(
            f"{place} fits {len(cells)} cells of {cells[0].dataset}: {variants}; name a field that differs, since "
            f"{choice.how}"
        )
    return choice


def _score(one: Configurations, metric: str, every: Sequence[Configurations], shown: Sequence[Cell]) -> Score:
    """Return the score of the configuration that a row shows.

    Two configurations of one method in one column take no part in bold and tests, which would rank them by test.
    """
    cell = one.chosen
    assert cell is not None
    names = (cell.model, cell.method, cell.dataset)
    others = [other.chosen for other in every if other.chosen and other.chosen is not cell]
    ranked = any((other.model, other.method, other.dataset) == names for other in others)
    all_of_it = [other for other in shown if (other.model, other.method, other.dataset) == names]
    settings = configuration_of(choose(all_of_it), cell) if len(all_of_it) > 1 else ""
    left_out = "another row of this column has other settings of the same method, and test does not rank settings"
    return score_of(cell, metric, left_out if ranked else "", settings)


def _fits(cell: Cell, wanted: Mapping[str, Scalar]) -> bool:
    known = {"model": cell.model, "method": cell.method, **cell.settings}
    return all(name in known and known[name] == value for name, value in wanted.items())


def _paper(content: Any, folder: Path) -> Paper:
    values = _mapping(content, "the file", _KEYS, {"sweeps"})
    select = values.get("select", SELECTIONS[0])
    if select not in SELECTIONS:
        raise ValueError(f"select is one of {', '.join(SELECTIONS)}, not {select!r}")
    metrics = _texts(values["metrics"], "metrics") if "metrics" in values else ()
    figures = _texts(values.get("figures", list(KINDS)), "figures", may_be_empty=True)
    for kind in figures:
        if kind not in KINDS:
            raise ValueError(f"figures: {kind!r} is none of {', '.join(KINDS)}")
    names = values.get("names", {})
    if not isinstance(names, dict) or not all(isinstance(x, str) for pair in names.items() for x in pair):
        raise ValueError("names is a mapping of texts, such as {roberta: RoBERTa-base}")
    tables = values.get("tables", [])
    if not isinstance(tables, list):
        raise ValueError("tables is a list")
    read = tuple(_table(one, f"table {n}") for n, one in enumerate(tables, 1))
    stems = [table.stem for table in read]
    if len(set(stems)) != len(stems):
        raise ValueError(f"two tables have one stem: {', '.join(stems)}")
    claims = values.get("claims")
    if claims is not None and not isinstance(claims, str):
        raise ValueError("claims is the path of a claims file")
    return Paper(
        sweeps=tuple(_sweep(name, folder) for name in _texts(values["sweeps"], "sweeps")),
        select=select,
        metrics=metrics,
        names=names,
        claims=None if claims is None else folder / claims,
        figures=figures,
        tables=read,
    )


def _sweep(name: str, folder: Path) -> Place:
    place = location(name)
    return folder / name if isinstance(place, Path) else place


def _table(content: Any, place: str) -> PaperTable:
    values = _mapping(content, place, _TABLE_KEYS, _TABLE_KEYS)
    stem, caption, metric = (values[name] for name in ("stem", "caption", "metric"))
    if not isinstance(stem, str) or slug(stem) != stem:
        raise ValueError(f"{place}: stem is a file name of lower-case letters, digits and '-', not {stem!r}")
    if not isinstance(caption, str) or not isinstance(metric, str):
        raise ValueError(f"{place}: caption and metric are texts")
    if metric == PER_CLASS:
        raise ValueError(f"{place}: {PER_CLASS} has tables of its own; put it under metrics")
    if not isinstance(values["rows"], list) or not values["rows"]:
        raise ValueError(f"{place}: rows is a list with at least one row")
    rows = tuple(_row(one, f"{place}, row {n}") for n, one in enumerate(values["rows"], 1))
    return PaperTable(stem, caption, metric, _texts(values["columns"], f"{place}: columns"), rows)


def _row(content: Any, place: str) -> RowSpec:
    if not isinstance(content, dict) or not content or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{place} is a mapping such as {{model: roberta, method: lora, label: LoRA}}")
    label = content.get("label")
    wanted = {name: value for name, value in content.items() if name != "label"}
    if not all(isinstance(value, str | int | float | bool) for value in wanted.values()):
        raise ValueError(f"{place}: every field is a number, a text, true or false")
    if label is not None and not isinstance(label, str):
        raise ValueError(f"{place}: label is a text")
    if "dataset" in wanted or "seed" in wanted:
        raise ValueError(f"{place}: datasets are columns, and seeds are what is averaged over; leave them out")
    return RowSpec(wanted, label)


def _mapping(content: Any, place: str, known: set[str], required: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{place} is a mapping with {', '.join(sorted(known))}")
    unknown, missing = sorted(set(map(str, content)) - known), sorted(required - set(content))
    if unknown:
        raise ValueError(f"{place}: unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if missing:
        raise ValueError(f"{place} lacks {', '.join(missing)}")
    return content


def _texts(values: Any, place: str, may_be_empty: bool = False) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values) or not (values or may_be_empty):
        raise ValueError(f"{place} is a list of texts")
    return tuple(values)
