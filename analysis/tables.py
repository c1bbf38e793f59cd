"""Score tables: one row a model or method, one column a dataset, mean ± sample std over seeds in percent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.aggregate import Cell
from analysis.names import NAMES, SPLITS, metric_name
from analysis.stats import Sample, holm, smallest_p, welch

ALPHA = 0.05
EPOCHS = {
    "last": "last epoch",
    "best-val": "epoch of the best validation macro-F1",
    "best-test": "epoch of the best test macro-F1, so too high",
}


@dataclass(frozen=True)
class Score:
    """What a table needs to know of one cell."""

    sample: Sample | None
    expected: int
    """Seeds asked for."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed trials by kind; such a cell takes no part in bold or tests."""
    num_collapsed: int = 0
    num_executions: int = 1
    cell: Cell | None = None
    """Where it comes from; None for a published one."""


@dataclass(frozen=True)
class Row:
    """One row: its label, and its scores by dataset."""

    label: str
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class TableSpec:
    """What a table asks. Its family of tests is fixed: each row against the best of its column, all columns."""

    stem: str
    """Name of the files it is written to."""
    caption: str
    metric: str
    rows: tuple[Row, ...]
    columns: Mapping[str, str]
    """Headings by dataset."""


@dataclass(frozen=True)
class Entry:
    """One filled place of a table."""

    score: Score
    bold: bool
    """The best mean of its column, as printed."""
    dagger: bool
    """Not separable from the best of its column."""
    marks: str
    """Letters of the notes that concern it."""

    @property
    def text(self) -> str:
        """``77.41 ± 2.81``, with ``(4/5)`` where seeds are missing; ``-`` for n = 0."""
        sample = self.score.sample
        count = 0 if sample is None else sample.n
        partial = f" ({count}/{self.score.expected})" if count != self.score.expected else ""
        return (percent(sample) if sample else "-") + partial


@dataclass(frozen=True)
class Table:
    """A filled table."""

    spec: TableSpec
    entries: Mapping[tuple[int, str], Entry]
    """By row number and dataset."""
    notes: tuple[str, ...]


def percent(sample: Sample) -> str:
    """``mean ± std`` in percent with two decimals; the mean alone for n = 1."""
    spread = "" if sample.std is None else f" ± {100 * sample.std:.2f}"
    return f"{100 * sample.mean:.2f}{spread}"


def score_of(cell: Cell, metric: str) -> Score:
    """The cell's score for a table."""
    return Score(
        sample=cell.sample(metric),
        expected=len(cell.expected),
        failures=dict(cell.failures),
        num_collapsed=cell.num_collapsed,
        num_executions=len(cell.executions),
        cell=cell,
    )


def build(spec: TableSpec) -> Table:
    """Fill ``spec``: best of each column bold, a dagger on what Welch's t with Holm over the whole table can't tell
    from it (at 5 %), counts of failures, collapsed runs and mixed executions as notes.
    """
    best = {dataset: _best(spec, dataset) for dataset in spec.columns}
    tested = [
        (number, dataset, comparison.p)
        for dataset, number_of_best in best.items()
        for number, row in enumerate(spec.rows)
        if number_of_best is not None
        and number != number_of_best
        and (one := _eligible(row, dataset)) is not None
        and (top := _eligible(spec.rows[number_of_best], dataset)) is not None
        and (comparison := welch(one, top)) is not None
    ]
    corrected = holm([p for _, _, p in tested])
    alike = {(number, dataset) for (number, dataset, _), p in zip(tested, corrected, strict=True) if p > ALPHA}
    entries, letters = {}, _Letters()
    for number, row in enumerate(spec.rows):
        for dataset, score in row.scores.items():
            sample, top = _eligible(row, dataset), best.get(dataset)
            printed = sample and f"{100 * sample.mean:.2f}"
            leader = None if top is None else _eligible(spec.rows[top], dataset)
            entries[number, dataset] = Entry(
                score=score,
                bold=leader is not None and printed == f"{100 * leader.mean:.2f}",
                dagger=(number, dataset) in alike,
                marks=letters.of(score),
            )
    return Table(spec, entries, (*_statistics(spec, len(tested), bool(alike)), *letters.notes()))


def _eligible(row: Row, dataset: str) -> Sample | None:
    """The sample that takes part in bold and tests."""
    score = row.scores.get(dataset)
    return None if score is None or score.failures else score.sample


def _best(spec: TableSpec, dataset: str) -> int | None:
    means = {n: sample.mean for n, row in enumerate(spec.rows) if (sample := _eligible(row, dataset)) is not None}
    return max(means, key=means.__getitem__) if len(means) > 1 else None


def _statistics(spec: TableSpec, family: int, alike: bool) -> list[str]:
    counts = {s.sample.n for row in spec.rows for s in row.scores.values() if s.sample is not None}
    if not counts:
        return ["no trial has completed yet"]
    n = min(counts)
    notes = [f"mean ± sample standard deviation (ddof = 1) over seeds, n = {'-'.join(map(str, sorted(counts)))}"]
    if not family:
        return [*notes, "not tested: a test takes at least 3 seeds in each of two rows"]
    floor = smallest_p(n, n)["permutation"] if n >= 3 else None
    notes.append(
        f"each row against the best of its column on this test set: Welch t, Holm over {family}"
        + (f"; the smallest p of a permutation test at n = {n} is {floor:.3g}" if floor else "")
    )
    return (
        [*notes, "† not separable from the best at 5 % (which does not show that they are equal)"] if alike else notes
    )


class _Letters:
    """Notes on single entries, lettered in order of appearance."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def of(self, score: Score) -> str:
        texts = [
            f"{count} {kind.replace('_', ' ')}: no part in bold or tests" for kind, count in score.failures.items()
        ]
        if score.num_collapsed:
            texts.append(f"{score.num_collapsed} of the runs predicted one class only")
        if score.num_executions > 1:
            texts.append("mixes ways of execution (device, threads, packed or not)")
        for text in texts:
            self.found.setdefault(text, chr(ord("a") + len(self.found) % 26))
        return "".join(self.found[text] for text in texts)

    def notes(self) -> list[str]:
        return [f"{letter}: {text}" for text, letter in self.found.items()]


def default_specs(
    cells: Sequence[Cell], headings: Mapping[str, str], metrics: Sequence[str], select: str = "last"
) -> list[TableSpec]:
    """The tables of a set of cells: full fine-tuning over models where there are several, methods over each model
    that has several, and one of what is left, each for each metric. A search's cells are left out.
    """
    shown = [cell for cell in cells if not cell.searched]
    models = list(dict.fromkeys(cell.model for cell in shown))
    full = [cell for cell in shown if cell.method == "full"]
    groups: list[tuple[str, str, list[Cell]]] = []
    if len({cell.model for cell in full}) > 1:
        groups.append(("models", f"{NAMES['full']} over models", full))
    for model in models:
        own = [cell for cell in shown if cell.model == model]
        if len({(cell.method, cell.variant) for cell in own}) > 1:
            groups.append((f"methods-{model}", f"methods on {NAMES.get(model, model)}", own))
    covered = {id(cell) for _, _, members in groups for cell in members}
    left = [cell for cell in shown if id(cell) not in covered]
    if left:
        groups.append(("other" if groups else "all", "other cells" if groups else "all cells", left))
    specs = []
    for stem, about, members in groups:
        for metric in metrics:
            splits, name = " and ".join(sorted({SPLITS[cell.split] for cell in members})), metric_name(metric)
            specs.append(
                TableSpec(
                    stem=f"{stem}-{metric}".replace("_", "-").replace(":", "-"),
                    caption=f"{name[0].upper()}{name[1:]} (percent, {splits}, {EPOCHS[select]}): {about}.",
                    metric=metric,
                    rows=_rows(members, metric, by_model=stem == "models"),
                    columns={dataset: headings.get(dataset, dataset) for dataset in _datasets(members)},
                )
            )
    return specs


def _datasets(members: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.dataset for cell in members))


def _rows(members: Sequence[Cell], metric: str, by_model: bool) -> tuple[Row, ...]:
    one_model = len({cell.model for cell in members}) == 1
    rows: dict[str, dict[str, Score]] = {}
    for cell in members:
        model, method = NAMES.get(cell.model, cell.model), NAMES.get(cell.method, cell.method)
        name = model if by_model else method if one_model else f"{model} · {method}"
        rows.setdefault(", ".join(filter(None, [name, cell.variant])), {})[cell.dataset] = score_of(cell, metric)
    counted = Counter((name, dataset) for name, scores in rows.items() for dataset in scores)
    assert max(counted.values()) == 1
    return tuple(Row(name, scores) for name, scores in rows.items())
