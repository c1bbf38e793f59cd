"""Score tables are built here: a row a model or method, a column a dataset, mean ± sample std over seeds in percent."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from analysis.cells import Cell, metric_label
from analysis.names import LABELS, SPLITS, numbered
from analysis.statistics.this_set import Sample, holm, smallest_p, welch
from analysis.tables.table import Entry, Score, Table, TableRow, TableSpec
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.schema import slug

ALPHA = 0.05
PER_CLASS = "per_class_f1"
METRICS = ("accuracy", "macro_f1", "micro_f1", "mcc", "weighted_f1", PER_CLASS)
EPOCHS = {
    "last": "last epoch",
    "best-val": "epoch of the best validation macro-F1",
    "best-test": "epoch of the best test macro-F1, so too high",
}


def score_of(cell: Cell, metric: str) -> Score:
    """Return the score of ``cell`` for a table."""
    return Score(
        sample=cell.sample(metric),
        expected=len(cell.expected),
        metric=metric,
        failures=dict(cell.failures),
        num_filled=sum(trial.filled for trial in cell.trials),
        num_collapsed=cell.num_collapsed,
        num_executions=len(cell.executions),
        cell=cell,
    )


def build(spec: TableSpec) -> Table:
    """Return the table that ``spec`` asks for.

    The best mean of each column is bold. A dagger marks what Welch's t test, with Holm's correction over the whole
    table, can't separate from it at 5 %. Failed trials, trials that predicted one class only, and mixed ways of
    execution are lettered notes.
    """
    best = {column: _best(spec, column) for column in spec.columns}
    tests: dict[tuple[int, str], float] = {}
    for number, row in enumerate(spec.rows):
        for column, top in best.items():
            sample = _eligible(row, column)
            if sample is None or top is None or number == top[0]:
                continue
            comparison = welch(sample, top[1])
            if comparison is not None:
                tests[number, column] = comparison.p
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    entries, letters = {}, _Letters()
    for number, row in enumerate(spec.rows):
        for column, score in row.scores.items():
            sample, top = _eligible(row, column), best.get(column)
            entries[number, column] = Entry(
                score=score,
                bold=sample is not None and top is not None and _printed(sample) == _printed(top[1]),
                dagger=corrected.get((number, column), 0) > ALPHA,
                tested=(number, column) in tests,
                marks=letters.of(score),
            )
    alike = any(entry.dagger for entry in entries.values())
    return Table(spec, entries, (*_statistics(spec, len(tests), alike), *letters.notes()))


def _eligible(row: TableRow, column: str) -> Sample | None:
    """Return the sample that takes part in bold and tests; None where the row has failures or no sample."""
    score = row.scores.get(column)
    return None if score is None or score.failures else score.sample


def _best(spec: TableSpec, column: str) -> tuple[int, Sample] | None:
    """Return number and sample of the best row; None where fewer than two rows take part."""
    samples = [(n, sample) for n, row in enumerate(spec.rows) if (sample := _eligible(row, column)) is not None]
    return max(samples, key=lambda item: item[1].mean) if len(samples) > 1 else None


def _printed(sample: Sample) -> str:
    return f"{100 * sample.mean:.2f}"


def _statistics(spec: TableSpec, family: int, alike: bool) -> list[str]:
    counts = {s.sample.n for row in spec.rows for s in row.scores.values() if s.sample is not None}
    if not counts:
        return ["no trial has completed yet"]
    n = min(counts)
    notes = [f"mean ± sample standard deviation (ddof = 1) over seeds, n = {'-'.join(map(str, sorted(counts)))}"]
    if not family:
        return [*notes, "not tested: a test takes two rows with at least 3 seeds each, and scores that vary"]
    floors = [f"{test} {'none' if p is None else f'{p:.3g}'}" for test, p in smallest_p(n, n).items()]
    notes.append(
        f"each row against the best of its column on this test set: Welch t, Holm over {family}"
        + (f"; smallest p that a test can reach at n = {n}: {', '.join(floors)}" if floors else "")
    )
    return (
        [*notes, "† not separable from the best at 5 % (which does not show that they are equal)"] if alike else notes
    )


class _Letters:
    """The notes on single entries, lettered in the order in which they appear."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def of(self, score: Score) -> str:
        texts = [
            f"{count} {kind.replace('_', ' ')}: no part in bold or tests" for kind, count in score.failures.items()
        ]
        if score.num_filled:
            texts.append(f"{score.num_filled} failed, counted with the score of the majority class")
        if score.num_collapsed:
            texts.append(f"{score.num_collapsed} of the runs predicted one class only")
        if score.num_executions > 1:
            texts.append("mixes ways of execution (device, threads, packed or not)")
        for text in texts:
            self.found.setdefault(text, chr(ord("a") + len(self.found) % 26))
        return "".join(self.found[text] for text in texts)

    def notes(self) -> list[str]:
        return [f"{letter}: {text}" for text, letter in self.found.items()]


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
