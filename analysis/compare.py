"""Each row of a table against the best of its column: on this test set, on new text, and the seeds that would tell."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.aggregate import Cell
from analysis.crossed import Runs, accuracy_difference, macro_f1_difference
from analysis.planning import detectable_difference, seeds_phrase, seeds_range
from analysis.predictions import read_predictions, runs_matrix
from analysis.render import escape_markdown
from analysis.stats import Comparison, Interval, Sample, equivalence, permutation_p, welch
from analysis.tables import Score, Table
from tunekit.store import DamagedRecord

NEW_TEXT = {"accuracy": accuracy_difference, "macro_f1": macro_f1_difference}


@dataclass(frozen=True)
class Versus:
    """A row minus the best row of its column."""

    dataset: str
    row: str
    best: str
    this_set: Comparison
    """Seeds vary, items are these."""
    permutation: float | None
    """Exact unpaired p for the same question; it takes equal spread for granted."""
    new_text: Comparison | None
    """Seeds and items vary."""
    why_not: str
    """Why there is no answer on new text; empty where there is one."""
    detectable: float | None
    """Difference found with chance 80 % at this n and these stds."""
    needed: str
    """Seeds a row that would find a difference of this size."""
    equivalence: float | None
    """p of two one-sided tests against the margin asked for: what "equal" needs."""


def against_best(table: Table, margin: float | None = None) -> list[Versus]:
    """One comparison for each row but the best of each column, where both have at least 3 seeds; ``margin`` in [0, 1].

    Raises UserError for a margin that is not above 0, and DamagedRecord where stored predictions can't be read.
    """
    found = []
    for dataset in table.spec.columns:
        shown = [
            (row.label, table.entries[n, dataset]) for n, row in enumerate(table.spec.rows) if dataset in row.scores
        ]
        usable = [(label, e.score, e.score.sample) for label, e in shown if e.score.sample and not e.score.failures]
        if len(usable) < 2:
            continue
        best_label, best_score, best = max(usable, key=lambda item: item[2].mean)
        for label, score, sample in usable:
            this_set = None if label == best_label else welch(sample, best)
            if this_set is None:
                continue
            new_text, why_not = _on_new_text(table.spec.metric, score, best_score)
            found.append(
                Versus(
                    dataset=table.spec.columns[dataset],
                    row=label,
                    best=best_label,
                    this_set=this_set,
                    permutation=permutation_p(sample.values, best.values) if sample.values and best.values else None,
                    new_text=new_text,
                    why_not=why_not,
                    detectable=_detectable(sample, best),
                    needed=_needed(sample, best),
                    equivalence=None if margin is None else equivalence(sample, best, margin),
                )
            )
    return found


def _detectable(a: Sample, b: Sample) -> float | None:
    if a.std is None or b.std is None or a.std + b.std == 0:
        return None
    return detectable_difference(a.std, b.std, min(a.n, b.n))


def _needed(a: Sample, b: Sample) -> str:
    bounds = seeds_range(a, b, abs(a.mean - b.mean))
    return "" if bounds is None else seeds_phrase(bounds)


def _on_new_text(metric: str, a: Score, b: Score) -> tuple[Comparison | None, str]:
    """The comparison, or why there is none."""
    if metric not in NEW_TEXT:
        return None, "for accuracy and macro-F1 only"
    if a.cell is None or b.cell is None:
        return None, "no predictions"
    try:
        one, other = _runs(a.cell), _runs(b.cell)
        if one is None or other is None:
            return None, "no predictions"
        if one[1] != other[1]:
            return None, "scored on other items"
        compared = NEW_TEXT[metric](one[0], other[0])
    except DamagedRecord:
        raise
    except ValueError as error:
        return None, str(error)
    return compared, "" if compared else "nothing varies"


def _runs(cell: Cell) -> tuple[Runs, list[str]] | None:
    """The cell's predictions and the items' ids, in the ids' order; None where a completed trial keeps none.

    Raises ValueError where its trials were not scored on the same items.
    """
    frames = [
        None if run.epoch is None else read_predictions(run.path, cell.split, run.epoch) for run in cell.completed
    ]
    kept = [frame for frame in frames if frame is not None]
    if cell.num_classes is None or len(kept) != len(frames) or not kept:
        return None
    ordered = [frame.sort_values("item_id", ignore_index=True) for frame in kept]
    return Runs(*runs_matrix(ordered), cell.num_classes), list(ordered[0]["item_id"])


def comparisons_markdown(tables: Sequence[Table], margin: float | None = None) -> str:
    """A table of comparisons for each score table that has any; differences in points, ``margin`` in [0, 1]."""
    lines = ["## Each row against the best of its column\n"]
    lines.append(
        "*On this test set*: seeds vary, Welch t, uncorrected, with the exact unpaired permutation p beside it. "
        "*On new text of this kind*: seeds and items vary. Differences are in points, with 95 % intervals. "
        "The best row was found in the same scores. Detectable: found with chance 80 % at this n; seeds: a row, to "
        "find a difference of this size (range from the 80 % interval of the std).\n"
    )
    head: tuple[str, ...] = (
        "dataset",
        "row",
        "best",
        "on this test set",
        "p",
        "permutation p",
        "on new text",
        "p",
        "detectable",
        "seeds",
    )
    head += () if margin is None else (f"p of equal within {100 * margin:g}",)
    for table in tables:
        found = against_best(table, margin)
        if not found:
            continue
        lines += [f"**{escape_markdown(table.spec.caption)}**\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for one in found:
            new = one.new_text
            cells = (
                one.dataset, one.row, one.best, _points(one.this_set.difference, one.this_set.interval),
                f"{one.this_set.p:.3g}", "" if one.permutation is None else f"{one.permutation:.3g}",
                one.why_not if new is None else _points(new.difference, new.interval),
                "" if new is None else f"{new.p:.3g}",
                "" if one.detectable is None else f"{100 * one.detectable:.2f}", one.needed,
            )  # fmt: skip
            cells += () if margin is None else ("" if one.equivalence is None else f"{one.equivalence:.3g}",)
            lines.append(f"| {' | '.join(map(escape_markdown, cells))} |")
        lines.append("")
    return "\n".join(lines) if len(lines) > 2 else ""


def _points(value: float, interval: Interval) -> str:
    return f"{100 * value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
