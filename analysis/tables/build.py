"""Score tables are built here: a row a model or method, a column a dataset, mean ± sample std over seeds in percent."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from analysis.cells import Cell, metric_label
from analysis.compare import Comparison, Population, Score, compare, score_of
from analysis.names import LABELS, SPLITS, numbered
from analysis.statistics.multiple import against_best, pairs
from analysis.statistics.power import ALPHA
from analysis.tables.notes import Letters, sentences
from analysis.tables.table import Entry, Standing, Table, TableRow, TableSpec
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.schema import slug

PER_CLASS = "per_class_f1"
METRICS = ("accuracy", "macro_f1", "micro_f1", "mcc", "weighted_f1", PER_CLASS)
EPOCHS = {
    "last": "last epoch",
    "best-val": "epoch of the best validation macro-F1",
    "best-test": "epoch of the best test macro-F1, so too high",
}


def build(spec: TableSpec) -> Table:
    """Return the table that ``spec`` asks for.

    The best mean of each column is bold. Every other row is compared with it (``analysis.compare``), and comes out as
    not separable from it, worse, or not tested; p values are corrected over the whole table. Where two rows can be
    tested, a row that can't be takes no part in bold either. Why a row is not tested, failed trials, trials that
    predicted one class only, and mixed ways of execution are lettered notes.
    """
    best = {column: top for column in spec.columns if spec.ranked and (top := _best(spec, column)) is not None}
    versus = _versus(spec, best)
    standings = {
        (number, column): _standing(spec, number, best.get(column), column, versus.get((number, column)))
        for number, row in enumerate(spec.rows)
        for column in row.scores
    }
    tested = [one for one in versus.values() if one.tested]
    untested = {one.reason for one in versus.values() if not one.tested}
    say_why = bool(tested) or len(untested) > 1
    mixed = len({one.population for one in tested}) > 1
    entries, letters = {}, Letters()
    for number, row in enumerate(spec.rows):
        for column, score in row.scores.items():
            one = versus.get((number, column))
            why_not = _why_not(one) if one and say_why and score.sample else ""
            only_here = mixed and one is not None and one.tested and one.population is Population.THIS_SET
            marks = letters.of(score, why_not, only_here)
            entries[number, column] = Entry(score, standings[number, column], one, marks)
    said = sentences(spec, standings, versus.values(), _family(versus))
    return Table(spec, entries, (*said, *spec.notes, *letters.notes()), best)


def _versus(spec: TableSpec, best: Mapping[str, int]) -> dict[tuple[int, str], Comparison]:
    """Return the comparison of each row with the best of its column, p values corrected over the whole table."""
    found = {
        (number, column): compare(row.scores[column], spec.rows[top].scores[column])
        for column, top in best.items()
        for number, row in enumerate(spec.rows)
        if number != top and column in row.scores
    }
    tested = {column: [key for key, one in found.items() if key[1] == column and one.tested] for column in best}
    corrected = against_best([[found[key].p or 0.0 for key in keys] for keys in tested.values()])
    for keys, p_values in zip(tested.values(), corrected, strict=True):
        found |= {key: found[key].corrected(p) for key, p in zip(keys, p_values, strict=True)}
    return found


def _why_not(one: Comparison) -> str:
    """Return why a row was not tested, empty where it was; a higher mean than that of the best is explained."""
    if one.tested or one.exact:
        return ""
    higher = one.difference is not None and one.difference > 0
    return f"{one.reason}{', so that its higher mean is not bold' if higher else ''}"


def _family(versus: Mapping[tuple[int, str], Comparison]) -> int:
    """Return the number of pairs of rows over which the p values of a table are corrected."""
    counts = Counter(column for (_, column), one in versus.items() if one.tested)
    return pairs([count + 1 for count in counts.values()])


def _best(spec: TableSpec, column: str) -> int | None:
    """Return the number of the best row; None where fewer than two rows take part.

    Where two rows can be tested it is the best of those that can, so that one lucky run hides no verdict.
    """
    scores = {n: row.scores[column] for n, row in enumerate(spec.rows) if column in row.scores}
    part = {n: score.taking_part for n, score in scores.items() if score.taking_part is not None}
    testable = {n: sample for n, sample in part.items() if not scores[n].untestable}
    shown = testable if len(testable) > 1 else part
    if len(shown) < 2:
        return None
    return max(shown, key=lambda n: (shown[n].mean, -(shown[n].std or 0), spec.rows[n].label))


def _standing(spec: TableSpec, number: int, best: int | None, column: str, versus: Comparison | None) -> Standing:
    if number == best:
        return Standing.BEST
    if best is None or versus is None:
        return Standing.NOT_TESTED
    if versus.p_holm is not None or versus.exact:
        if _printed(spec, number, column) == _printed(spec, best, column):
            return Standing.BEST
        worse = (versus.difference or 0) < 0 if versus.p_holm is None else versus.p_holm <= ALPHA
        return Standing.WORSE if worse else Standing.ALIKE
    return Standing.NOT_TESTED


def _printed(spec: TableSpec, number: int, column: str) -> str:
    sample = spec.rows[number].scores[column].sample
    return "" if sample is None else f"{100 * sample.mean:.2f}"


def default_specs(cells: Sequence[Cell], metrics: Sequence[str], select: str = "last") -> list[TableSpec]:
    """Return the usual tables of ``cells``, each for each of ``metrics`` (``per_class_f1``: for each dataset too).

    There is a table of full fine-tuning over models where there are several models, one of methods for each model that
    has several rows, and one of the cells that are left. The cells of a search are left out, and so are metrics that an
    imported experiment did not record. Raises UserError where no metric was recorded.
    """
    shown = [cell for cell in cells if not cell.searched]
    models = list(dict.fromkeys(cell.model for cell in shown))
    full = [cell for cell in shown if cell.method == "full"]
    groups: list[tuple[str, str, list[Cell]]] = []
    if len({cell.model for cell in full}) > 1:
        groups.append(("models", f"{full[0].method_name} over models", full))
    for model in models:
        own = [cell for cell in shown if cell.model == model]
        if len({(cell.method, cell.variant) for cell in own}) > 1:
            groups.append((f"methods-{model}", f"methods on {own[0].model_name}", own))
    covered = {id(cell) for _, _, members in groups for cell in members}
    left = [cell for cell in shown if id(cell) not in covered]
    if left:
        groups.append(("other" if groups else "all", "other cells" if groups else "all cells", left))
    specs = []
    for stem, about, members in groups:
        for metric in metrics:
            if not recorded(members, metric):
                continue
            about_scores = f"(percent, {_splits(members)}, {EPOCHS[select]}): {about}"
            if metric == PER_CLASS:
                specs += _per_class(stem, about_scores, members)
                continue
            specs.append(_over_datasets(stem, f"{about_scores}.", members, metric))
    if groups and not specs:
        raise UserError(f"no trial recorded {' or '.join(metrics)}; choose another --metric")
    stems = numbered([spec.stem for spec in specs])
    return [replace(spec, stem=stem) for spec, stem in zip(specs, stems, strict=True)]


def check_metric(metric: str) -> None:
    """Raise UserError where there is no metric called ``metric``."""
    if metric not in METRICS:
        hint = did_you_mean(metric, METRICS)
        raise UserError(f"there is no metric {metric!r}{hint} (there are {', '.join(METRICS)})")


def all_cells_spec(shown: Sequence[Cell], metric: str, select: str = "last") -> TableSpec:
    """Return one table of all cells ``shown``, which hold no trials of a search.

    Raises UserError for an unknown metric, where no trial recorded it, and for the F1 of each class of several
    datasets.
    """
    check_metric(metric)
    about_scores = f"(percent, {_splits(shown)}, {EPOCHS[select]})"
    if not recorded(shown, metric):
        raise UserError(f"no trial recorded {metric}; choose another metric")
    if metric != PER_CLASS:
        return _over_datasets("all", f"{about_scores}.", shown, metric)
    datasets = list(dict.fromkeys(cell.dataset for cell in shown))
    if len(datasets) > 1:
        raise UserError(f"{PER_CLASS} is a table of one dataset; give one of {', '.join(datasets)}")
    return _per_class("all", about_scores, shown)[0]


def _over_datasets(stem: str, about_scores: str, members: Sequence[Cell], metric: str) -> TableSpec:
    """Return the table of one metric with a column a dataset."""
    name = metric_label(metric, members)
    return TableSpec(
        stem=slug(f"{stem}-{metric}".replace("_", "-")),
        caption=f"{name[0].upper()}{name[1:]} {about_scores}",
        metric=metric,
        rows=_rows(members, partial(_dataset_score, metric), stem),
        columns={cell.dataset: cell.dataset_name for cell in members},
    )


def _splits(members: Sequence[Cell]) -> str:
    return " and ".join(sorted({SPLITS[cell.split] for cell in members}))


def recorded(members: Sequence[Cell], metric: str) -> bool:
    """Return whether the metric is computed, or some trial recorded it, or no trial has completed."""
    ended = [cell for cell in members if cell.completed]
    return not ended or any(f"{cell.split}_{metric}" not in LABELS or cell.by_seed(metric) for cell in ended)


def _per_class(stem: str, about_scores: str, members: Sequence[Cell]) -> list[TableSpec]:
    """Return a table for each dataset: the F1 of each of its classes."""
    specs = []
    for dataset in dict.fromkeys(cell.dataset for cell in members):
        own = [cell for cell in members if cell.dataset == dataset]
        labels = own[0].label_names
        if not labels:
            raise UserError(f"--metric {PER_CLASS}: no sweep given has a copy of {dataset} that names its classes")
        specs.append(
            TableSpec(
                stem=slug(f"{stem}-per-class-f1-{dataset}".replace("_", "-")),
                caption=f"F1 of each class of {own[0].dataset_name} {about_scores}.",
                metric=PER_CLASS,
                rows=_rows(own, _class_scores, stem),
                columns={str(n): label for n, label in enumerate(labels)},
            )
        )
    return specs


def _dataset_score(metric: str, cell: Cell) -> dict[str, Score]:
    return {cell.dataset: score_of(cell, metric)}


def _class_scores(cell: Cell) -> dict[str, Score]:
    return {str(n): score_of(cell, f"f1:{n}") for n in range(len(cell.label_names))}


def _rows(members: Sequence[Cell], scores: Callable[[Cell], dict[str, Score]], stem: str) -> tuple[TableRow, ...]:
    one_model = len({cell.model for cell in members}) == 1
    rows: dict[str, dict[str, Score]] = {}
    for cell in members:
        both = f"{cell.model_name} · {cell.method_name}"
        name = cell.model_name if stem == "models" else cell.method_name if one_model else both
        row = rows.setdefault(", ".join(filter(None, [name, cell.variant])), {})
        added = scores(cell)
        # A row that two cells of one dataset share would drop one of them unseen.
        assert not row.keys() & added.keys()
        row |= added
    return tuple(TableRow(name, found) for name, found in rows.items())
