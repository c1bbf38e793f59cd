"""The usual tables of sweeps: a row a model or method and a column a dataset, with the settings in tables of their own.

A method that was trained with several settings has one row, with the configuration that validation chose on each
dataset (``analysis.configurations``). Where validation can't choose, it has a row a setting, and none of them takes
part in bold or tests: picking the best of them by test would flatter the method.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from analysis.cells import Cell, metric_label
from analysis.compare import Score, score_of
from analysis.configurations import Configurations, configuration_of, configurations, validation
from analysis.names import LABELS, PER_CLASS, PRIMARY, SPLITS, numbered
from analysis.tables.data_notes import data_notes
from analysis.tables.table import TableRow, TableSpec
from analysis.units import by_task, class_scores, in_percent, primary_label, reported_metrics, row_name
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.schema import slug

METRICS = ("accuracy", "macro_f1", "macro_f1_present", "micro_f1", "mcc", "weighted_f1", PER_CLASS)


def epochs_text(select: str, cells: Sequence[Cell]) -> str:
    """Return the epoch whose scores count, in words, for the selection ``select`` of the epochs of ``cells``."""
    return {
        "last": "last epoch",
        "best-val": f"epoch of the best validation {primary_label(cells)}",
        "best-test": f"epoch of the best test {primary_label(cells)}, so too high",
    }[select]


def _about(cells: Sequence[Cell], metric: str, select: str) -> str:
    """Return the unit, the split and the epoch of a table's values, in parentheses."""
    unit = ["percent"] if in_percent(cells, metric) else []
    return f"({', '.join([*unit, _splits(cells), epochs_text(select, cells)])})"


def default_specs(cells: Sequence[Cell], metrics: Sequence[str], select: str = "last") -> list[TableSpec]:
    """Return the usual tables of ``cells``, each for each of ``metrics`` (``per_class_f1``: for each dataset too).

    There is a table of full fine-tuning over models where there are several models, one of methods for each model that
    has several rows, and one of the cells that are left. The cells of a search are left out, and so are metrics that an
    imported experiment did not record. Datasets of different tasks are in tables of their own, except in those of
    ``PRIMARY``. Raises UserError where no metric was recorded.
    """
    groups = by_task(cells)
    specs = _specs_of_task(cells, [PRIMARY], select) if PRIMARY in metrics else []
    others = [metric for metric in metrics if metric != PRIMARY]
    specs += [spec for own in groups for spec in _specs_of_task(own, others, select)]
    if not specs and any(not cell.searched for cell in cells):
        raise UserError(f"no trial recorded {' or '.join(metrics)}; choose another --metric")
    return _with_own_stems(specs)


def _specs_of_task(cells: Sequence[Cell], metrics: Sequence[str], select: str) -> list[TableSpec]:
    """Return the usual tables of ``cells``, which are all of one task, or of several where ``metrics`` is PRIMARY."""
    shown = configurations(cells)
    models = list(dict.fromkeys(one.first.model for one in shown))
    full = [one for one in shown if one.first.method == "full"]
    groups: list[tuple[str, str, list[Configurations]]] = []
    if len({one.first.model for one in full}) > 1:
        groups.append(("models", f"{full[0].first.method_name} over models", full))
    for model in models:
        own = [one for one in shown if one.first.model == model]
        if len({one.first.method for one in own}) > 1 or any(one.chosen is None for one in own):
            groups.append((f"methods-{model}", f"methods on {own[0].first.model_name}", own))
    covered = {id(one) for _, _, members in groups for one in members}
    left = [one for one in shown if id(one) not in covered]
    if left:
        groups.append(("other" if groups else "all", "other cells" if groups else "all cells", left))
    specs = []
    for stem, about, members in groups:
        for metric in metrics:
            if not recorded(_cells(members), metric):
                continue
            about_scores = f"{_about(_cells(members), metric, select)}: {about}"
            if metric == PER_CLASS:
                specs += _per_class(stem, about_scores, members)
                continue
            specs.append(_over_datasets(stem, f"{about_scores}.", members, metric))
    return specs


def all_cells_spec(cells: Sequence[Cell], metric: str, select: str = "last") -> TableSpec:
    """Return one table of all ``cells``, which hold no trials of a search.

    Raises UserError for an unknown metric, where no trial recorded it, and for the F1 of each class of several
    datasets.
    """
    check_metric(metric, cells)
    _check_recorded(cells, metric)
    # Only the cells of tasks that have the metric, since one table has one unit.
    if cells and metric != PRIMARY:
        cells = next(own for own in by_task(cells) if recorded(own, metric))
    about_scores = _about(cells, metric, select)
    shown = configurations(cells)
    if metric != PER_CLASS:
        return _over_datasets("all", f"{about_scores}.", shown, metric)
    datasets = list(dict.fromkeys(cell.dataset for cell in cells))
    if len(datasets) > 1:
        raise UserError(f"{PER_CLASS} is a table of one dataset; give one of {', '.join(datasets)}")
    return _per_class("all", about_scores, shown)[0]


def settings_specs(cells: Sequence[Cell], metrics: Sequence[str], select: str = "last") -> list[TableSpec]:
    """Return a table of all settings for each dataset and metric, of the methods that were trained with several.

    Rows are sorted by the values of the settings, validation is beside test, and nothing is ranked. There is no table
    for the F1 of each class, nor for a metric that no trial recorded.
    """
    several = [one for one in configurations(cells) if len(one.cells) > 1]
    specs = []
    for dataset in dict.fromkeys(one.first.dataset for one in several):
        own = [one for one in several if one.first.dataset == dataset]
        specs += [
            _settings_spec(own, metric, select)
            for metric in dict.fromkeys(map(own[0].first.own_metric, metrics))
            if metric != PER_CLASS and recorded(_cells(own), metric)
        ]
    return _with_own_stems(specs)


def check_metric(metric: str, cells: Sequence[Cell] = ()) -> None:
    """Raise UserError unless ``metric`` is a metric of the tasks of ``cells``, or one that imported trials recorded.

    Without cells it must be one of classification.
    """
    of_types = [PER_CLASS] if any(cell.task.form == "tags" for cell in cells) else []
    computed = METRICS if not cells or any(cell.has_classes for cell in cells) else of_types
    known = tuple(dict.fromkeys([*computed, *reported_metrics(cells), PRIMARY, *further_metrics(cells)]))
    if metric not in known:
        raise UserError(f"there is no metric {metric!r}{did_you_mean(metric, known)} (there are {', '.join(known)})")


def further_metrics(cells: Sequence[Cell]) -> list[str]:
    """Return the metrics that trials of ``cells`` recorded and that are none of ``METRICS``."""
    names = {name for cell in cells for trial in cell.trials for name in trial.scores if name not in LABELS}
    found = {name.removeprefix("val_").removeprefix("test_") for name in names if name.startswith(("val_", "test_"))}
    return sorted(found - {*METRICS})


def choice_notes(shown: Sequence[Configurations]) -> tuple[str, ...]:
    """Return a line for each method of whose configurations one was chosen: which, by dataset, and how."""
    lines: dict[str, list[str]] = {}
    for one in shown:
        if one.chosen is not None and len(one.cells) > 1:
            cell = one.chosen
            text = f"{cell.dataset_name} {configuration_of(one, cell)} ({one.how})"
            lines.setdefault(f"{cell.model_name} · {cell.method_name}", []).append(text)
    return tuple(f"Configuration of {name}: {'; '.join(texts)}." for name, texts in lines.items())


def _cells(shown: Sequence[Configurations]) -> list[Cell]:
    return [cell for one in shown for cell in one.cells]


def _with_own_stems(specs: Sequence[TableSpec]) -> list[TableSpec]:
    stems = numbered([spec.stem for spec in specs])
    return [replace(spec, stem=stem) for spec, stem in zip(specs, stems, strict=True)]


def _over_datasets(stem: str, about_scores: str, shown: Sequence[Configurations], metric: str) -> TableSpec:
    """Return the table of one metric with a column a dataset."""
    members = _cells(shown)
    return TableSpec(
        stem=slug(f"{stem}-{metric}".replace("_", "-")),
        caption=f"{_capital(metric_label(metric, members))} {about_scores}",
        metric=metric,
        rows=_rows(shown, partial(_dataset_score, metric), stem),
        columns={cell.dataset: _heading(cell, metric) for cell in members},
        notes=(*choice_notes(shown), *data_notes(members, metric)),
    )


def _heading(cell: Cell, metric: str) -> str:
    """Return the heading of a dataset's column, with its metric where the columns of a table have different ones."""
    return f"{cell.dataset_name} ({cell.measure(metric).label})" if metric == PRIMARY else cell.dataset_name


def _capital(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}"


def _splits(members: Sequence[Cell]) -> str:
    return " and ".join(sorted({SPLITS[cell.split] for cell in members}))


def _check_recorded(members: Sequence[Cell], metric: str) -> None:
    if not recorded(members, metric):
        raise UserError(f"no trial recorded {metric}; choose another metric")


def recorded(members: Sequence[Cell], metric: str) -> bool:
    """Return whether the metric is computed, or some trial recorded it, or no trial has completed."""
    ended = [cell for cell in members if cell.completed]
    computed = metric in METRICS and f"test_{metric}" not in LABELS and any(cell.has_classes for cell in ended)
    of_types = metric == PER_CLASS and any(cell.task.form == "tags" for cell in ended)
    return not ended or computed or of_types or any(cell.by_seed(cell.own_metric(metric)) for cell in ended)


def _per_class(stem: str, about_scores: str, shown: Sequence[Configurations]) -> list[TableSpec]:
    """Return a table for each dataset: the F1 of each of its classes."""
    specs = []
    for dataset in dict.fromkeys(one.first.dataset for one in shown):
        own = [one for one in shown if one.first.dataset == dataset]
        first = own[0].first
        columns, what = class_scores(first), "type of entity" if first.task.form == "tags" else "class"
        if not columns:
            raise UserError(f"--metric {PER_CLASS}: no sweep given has a copy of {dataset} that names its classes")
        specs.append(
            TableSpec(
                stem=slug(f"{stem}-per-class-f1-{dataset}".replace("_", "-")),
                caption=f"F1 of each {what} of {first.dataset_name} {about_scores}.",
                metric=PER_CLASS,
                rows=_rows(own, _class_scores, stem),
                columns={name.removeprefix("f1:"): label for name, label in columns.items()},
                notes=(*choice_notes(own), *data_notes(_cells(own), PER_CLASS)),
            )
        )
    return specs


def _dataset_score(metric: str, cell: Cell, of: Configurations) -> dict[str, Score]:
    return {cell.dataset: _score(cell, metric, of)}


def _class_scores(cell: Cell, of: Configurations) -> dict[str, Score]:
    return {name.removeprefix("f1:"): _score(cell, name, of) for name in class_scores(cell)}


def _score(cell: Cell, metric: str, of: Configurations) -> Score:
    """Return the score of one configuration; it takes part in bold and tests only where it was chosen."""
    settings = configuration_of(of, cell) if len(of.cells) > 1 else ""
    return score_of(cell, metric, of.how if of.chosen is None else "", settings)


def _rows(
    shown: Sequence[Configurations], scores: Callable[[Cell, Configurations], dict[str, Score]], stem: str
) -> tuple[TableRow, ...]:
    """Return a row a method, or a row a setting of it where none of several was chosen."""
    one_model = len({one.first.model for one in shown}) == 1
    rows: dict[tuple[str, ...], tuple[str, dict[str, Score]]] = {}
    for one in shown:
        for cell in one.cells if one.chosen is None else [one.chosen]:
            name = cell.model_name if stem == "models" else row_name(cell, one_model=one_model)
            variant = cell.variant if one.chosen is None else ""
            key = (cell.model, cell.method, variant)
            label = ", ".join(filter(None, [name, variant]))
            rows.setdefault(key, (label, {}))[1].update(scores(cell, one))
    return tuple(TableRow(label, found) for label, found in rows.values())


def _settings_spec(own: Sequence[Configurations], metric: str, select: str) -> TableSpec:
    """Return the table of all settings on one dataset."""
    cells = _cells(own)
    in_records = f"val_{metric}" in LABELS or not cells[0].has_classes
    splits = ["val"] if in_records and any(validation(cell, metric) for cell in cells) else []
    splits += ["test"] if any(cell.split == "test" for cell in cells) else []
    one_model = len({cell.model for cell in cells}) == 1
    rows = []
    for one in own:
        for cell in one.cells:
            name = row_name(cell, one_model=one_model)
            chosen = " (chosen)" if cell is one.chosen else ""
            settings = configuration_of(one, cell)
            scores = {split: score_of(replace(cell, split=split), metric, configuration=settings) for split in splits}
            rows.append(TableRow(f"{name}, {settings}{chosen}", scores))
    about = f"{_capital(metric_label(metric, cells))} of all settings on {cells[0].dataset_name}"
    percent = "percent, " if in_percent(cells, metric) else ""
    how = (f"{one.first.model_name} · {one.first.method_name}: {one.how}." for one in own)
    return TableSpec(
        stem=slug(f"settings-{cells[0].dataset}-{metric}".replace("_", "-")),
        caption=f"{about} ({percent}{epochs_text(select, cells)}); the rows stand in the order of their settings.",
        metric=metric,
        rows=tuple(rows),
        columns={split: SPLITS[split] for split in splits},
        notes=(
            *how,
            "A configuration is chosen on validation; the best on test must not be reported as a result.",
            *data_notes(cells, metric),
        ),
        ranked=False,
    )
