"""Each row of a table against the best of its column: on this test set, on new text, and the seeds that would tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.cells import Cell
from analysis.predictions import aligned_predictions, read_predictions
from analysis.report.document import Grid, Paragraph, Section
from analysis.statistics.new_text import SeedPredictions, accuracy_difference, macro_f1_difference
from analysis.statistics.power import detectable_difference, hours_for, seeds_phrase, seeds_range
from analysis.statistics.this_set import (
    Comparison,
    Interval,
    McNemar,
    Paired,
    Sample,
    equivalence,
    mcnemar,
    paired,
    permutation_p,
    welch,
)
from analysis.tables.table import Score, Table
from tunekit.store.records import DamagedRecord

NEW_TEXT = {"accuracy": accuracy_difference, "macro_f1": macro_f1_difference}


@dataclass(frozen=True)
class RowComparison:
    """A row minus the best row of its column."""

    column: str
    row: str
    best: str
    this_set: Comparison
    """The comparison on this test set: seeds vary and items stay."""
    permutation: float | None
    """The exact unpaired permutation p on this test set, which assumes equal spread."""
    new_text: Comparison | None
    """The comparison on new text, where seeds and items vary; None where there is none."""
    why_not: str
    """Why there is no comparison on new text; empty where there is one."""
    detectable: float | None
    """The difference that is found with a chance of 80 % at this n and these standard deviations."""
    needed: str
    """The number of seeds a row that would find a difference of this size, as text."""
    by_seed: Paired | None
    """The comparison seed by seed, for rows that share their initialisation."""
    equivalence: float | None
    """The p of two one-sided tests against the margin that was asked for, by which rows are called equal."""


def against_best(table: Table, margin: float | None = None) -> list[RowComparison]:
    """Return one comparison for each row but the best of each column, where both have at least 3 seeds; ``margin`` in
    [0, 1].

    Raises UserError for a margin that is not above 0, and DamagedRecord where stored predictions can't be read.
    """
    found = []
    for column in table.spec.columns:
        shown = [(row.label, table.entries[n, column]) for n, row in enumerate(table.spec.rows) if column in row.scores]
        usable = [(label, e.score, sample) for label, e in shown if (sample := e.score.taking_part) is not None]
        if len(usable) < 2:
            continue
        best_label, best_score, best = max(usable, key=lambda item: item[2].mean)
        for label, score, sample in usable:
            this_set = None if label == best_label else welch(sample, best)
            if this_set is None:
                continue
            new_text, why_not = _on_new_text(table.spec.metric, score, best_score)
            found.append(
                RowComparison(
                    column=table.spec.columns[column],
                    row=label,
                    best=best_label,
                    this_set=this_set,
                    permutation=permutation_p(sample.values, best.values) if sample.values and best.values else None,
                    new_text=new_text,
                    why_not=why_not,
                    detectable=_detectable(sample, best),
                    needed=_needed(score, best_score, sample, best),
                    by_seed=_paired(score, best_score),
                    equivalence=None if margin is None else equivalence(sample, best, margin),
                )
            )
    return found


def _detectable(a: Sample, b: Sample) -> float | None:
    if a.std is None or b.std is None or a.std + b.std == 0:
        return None
    return detectable_difference(a.std, b.std, min(a.n, b.n))


def _needed(a: Score, b: Score, one: Sample, other: Sample) -> str:
    """Return the seeds a row for a gap of this size, and the hours that they take where the trials' times are known."""
    bounds = seeds_range(one, other, abs(one.mean - other.mean))
    if bounds is None:
        return ""
    seconds = [score.cell.sample("train_seconds") if score.cell else None for score in (a, b)]
    times = [sample.mean for sample in seconds if sample]
    if len(times) < 2:
        return seeds_phrase(bounds)
    hours = [f"{hours_for(count, sum(times)):,.1f}" for count in bounds if count is not None]
    return f"{seeds_phrase(bounds)} ({' to '.join(dict.fromkeys(hours))} h)" if hours else seeds_phrase(bounds)


def _paired(a: Score, b: Score) -> Paired | None:
    if a.cell is None or b.cell is None or a.cell.model != b.cell.model:
        return None
    return paired(a.cell.by_seed(a.metric), b.cell.by_seed(b.metric))


def _on_new_text(metric: str, a: Score, b: Score) -> tuple[Comparison | None, str]:
    """Return the comparison, or why there is none."""
    if a.cell is None or b.cell is None:
        return None, "no predictions"
    return compared_on_new_text(metric, a.cell, b.cell)


def compared_on_new_text(metric: str, a: Cell, b: Cell) -> tuple[Comparison | None, str]:
    """Return the comparison of two cells where seeds and items vary, or why there is none.

    Raises DamagedRecord where stored predictions can't be read.
    """
    if metric not in NEW_TEXT:
        return None, "for accuracy and macro-F1 only"
    try:
        one, other = predictions_of(a), predictions_of(b)
        if one.items != other.items:
            return None, "scored on other items"
        compared = NEW_TEXT[metric](one.predictions, other.predictions)
    except DamagedRecord:
        raise
    except ValueError as error:
        return None, str(error)
    return compared, "" if compared else "nothing varies"


@dataclass(frozen=True)
class CellPredictions:
    """A cell's predictions, items in the order of their ids."""

    predictions: SeedPredictions
    items: tuple[str, ...]


def predictions_of(cell: Cell) -> CellPredictions:
    """Return the stored predictions of a cell's completed trials.

    Raises ValueError where a trial keeps none or they were not scored on the same items, and DamagedRecord, which is
    one, where they can't be read.
    """
    frames = [
        None if trial.epoch is None else read_predictions(trial.path, cell.split, trial.epoch)
        for trial in cell.completed
    ]
    kept = [frame.sort_values("item_id", ignore_index=True) for frame in frames if frame is not None]
    if cell.num_classes is None or len(kept) != len(frames) or not kept:
        raise ValueError("no predictions")
    return CellPredictions(SeedPredictions(*aligned_predictions(kept), cell.num_classes), tuple(kept[0]["item_id"]))


def comparisons_section(tables: Sequence[Table], margin: float | None = None, pair: bool = False) -> Section:
    """Return the grids of comparisons for each score table that has any; differences in points, ``margin`` in [0, 1].

    ``pair`` adds the paired tests of rows that share their initialisation.
    """
    parts = []
    for table in tables:
        found = against_best(table, margin)
        if not found:
            continue
        grids = [_grid(DIFFERENCES, found, _differences), _grid(PLANNING, found, _planning)]
        if margin is not None:
            head = f"p of equal within {100 * margin:g}"
            grids.append(_grid((head,), found, lambda one: (_p(one.equivalence),)))
        if pair:
            grids.append(_grid(PAIRED, found, _pairs))
        parts.append(Section(table.spec.caption, tuple(grids), f"comparisons-{table.spec.stem}"))
    how = (Paragraph(HOW),) if parts else ()
    return Section("Each row against the best of its column", how, "comparisons", tuple(parts))


def single_runs_section(tables: Sequence[Table]) -> Section:
    """Return McNemar's test of each row of one run against a best row of one run, where both keep predictions."""
    rows = []
    for table in tables:
        if table.spec.metric != "accuracy":
            continue
        for column, heading in table.spec.columns.items():
            entries = [(table.spec.rows[n].label, e) for (n, name), e in table.entries.items() if name == column]
            best = next(((label, e) for label, e in entries if e.bold), None)
            for label, entry in entries:
                if best is None or entry.bold or entry.score.left_out:
                    continue
                compared = _one_against_one(entry.score, best[1].score)
                if compared is not None:
                    rows.append((heading, label, best[0], str(compared.b), str(compared.c), _p(compared.p)))
    about = Paragraph(
        "McNemar's exact test of one run against one other, on these items. It says nothing of other seeds, and so "
        "nothing of the methods."
    )
    head = ("column", "row", "best", "only the row right", "only the best right", "p")
    return Section("One run against one run", (about, Grid(head, tuple(rows))) if rows else (), "single-runs")


def _one_against_one(a: Score, b: Score) -> McNemar | None:
    """Return None unless each has one run, with predictions on the same items."""
    if a.cell is None or b.cell is None or len(a.cell.completed) != 1 or len(b.cell.completed) != 1:
        return None
    try:
        one, other = predictions_of(a.cell), predictions_of(b.cell)
    except DamagedRecord:
        raise
    except ValueError:
        return None  # no predictions: other sections say so
    if one.items != other.items:
        return None
    return mcnemar(one.predictions.gold, one.predictions.predicted[0], other.predictions.predicted[0])


HOW = (
    "On this test set: seeds vary, Welch t, uncorrected, with the exact unpaired permutation p beside it. On new text "
    "of this kind: seeds and items vary. Differences are in points, with 95 % intervals. The best row was found in the "
    "same scores. Detectable: found with chance 80 % at this n. Seeds: a row, to find a difference of this size (range "
    "from the 80 % interval of the std), with the hours that both rows' trials would take one after the other. Paired "
    "tests compare seed by seed and are for rows of one model, whose trials of a seed start from the same weights. "
    "Equal within a margin: the larger p of two one-sided tests."
)


DIFFERENCES = ("on this test set", "p", "permutation p", "on new text", "p")
PLANNING = ("difference", "detectable", "seeds")
PAIRED = ("paired", "n", "p", "sign-flip p", "correlation")


def _grid(
    head: tuple[str, ...], found: Sequence[RowComparison], texts: Callable[[RowComparison], tuple[str, ...]]
) -> Grid:
    rows = tuple((one.column, one.row, one.best, *texts(one)) for one in found)
    return Grid(("column", "row", "best", *head), rows)


def _differences(one: RowComparison) -> tuple[str, ...]:
    here, new = one.this_set, one.new_text
    there = (one.why_not, "") if new is None else (_points(new.difference, new.interval), _p(new.p))
    return _points(here.difference, here.interval), _p(here.p), _p(one.permutation), *there


def _planning(one: RowComparison) -> tuple[str, ...]:
    detectable = "" if one.detectable is None else f"{100 * one.detectable:.2f}"
    return f"{100 * one.this_set.difference:+.2f}", detectable, one.needed


def _pairs(one: RowComparison) -> tuple[str, ...]:
    found = one.by_seed
    if found is None:
        return "not paired", "", "", "", ""
    correlation = "" if found.correlation is None else f"{found.correlation:.2f}"
    difference = _points(found.difference, found.interval)
    return difference, str(found.n), _p(found.p), _p(found.sign_flip_p), correlation


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _points(value: float, interval: Interval) -> str:
    return f"{100 * value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
