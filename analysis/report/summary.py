"""The report's sections on its own numbers: what they mean, which trials failed, and what is left out and why."""

from collections import Counter
from collections.abc import Sequence

from analysis.cells import Cell
from analysis.compare import Population
from analysis.configurations import configurations
from analysis.names import SPLITS, left_out, not_ended
from analysis.report.document import Grid, Inline, Link, Points, Section
from analysis.sweep_records import SweepRecords
from analysis.tables.specs import epochs_text
from analysis.tables.table import Table
from tunekit.parsing import how_many
from tunekit.schema import Status

MEANINGS = {
    Population.NEW_TEXT: (
        "New texts from the same source: a conclusion holds for new seeds and for new test items that are drawn from "
        "the same source as these. The training data and the settings stay as they are."
    ),
    Population.THIS_SET: (
        "These test items: a conclusion holds for new seeds on the same test items. On other test items the result "
        "may differ."
    ),
}


SINGLE = (
    "Significant means a corrected p of at most 0.05. The correction covers all comparisons of one table with the best "
    "rows of its columns. It does not cover two rows neither of which is the best: only a claims file (--claims) tests "
    "those. Nor does it cover a choice among tables: a paper names its main metric before it looks at the results. "
    "The 95 % intervals are not corrected, so that the interval of a difference that is not significant may exclude 0."
)


def about_section(
    records: SweepRecords, found: Sequence[Cell], tables: Sequence[Table], select: str, notes: Sequence[str] = ()
) -> Section:
    """Return how to read the scores and the comparisons of ``tables``, the counts of trials, and ``notes``."""
    trials = [trial for cell in found for trial in cell.trials]
    states = Counter("unfinished" if trial.status is None else trial.status for trial in trials)
    compared = (entry.versus for table in tables for entry in table.entries.values())
    populations = {one.population for one in compared if one is not None and one.tested}
    splits = sorted({SPLITS[cell.split] for cell in found if not cell.searched})
    by_patience = sum(cell.num_by_patience for cell in found)
    remarks = {Status.COMPLETED.value: f" ({by_patience} of them stopped by patience)"} if by_patience else {}
    counted = ", ".join(f"{n} {name.replace('_', ' ')}{remarks.get(name, '')}" for name, n in states.items())
    lines = [
        f"{how_many(len(trials), 'trial')}: {counted}. They form {how_many(len(found), 'cell')}; a cell is one model, "
        "method and dataset with one configuration of settings, trained once for each seed."
    ]
    if splits:
        lines.append(f"Scores are those of the {epochs_text(select, found)} on the {' and '.join(splits)} split.")
    lines += [meaning for population, meaning in MEANINGS.items() if population in populations]
    if populations:
        lines.append(SINGLE)
    methods = configurations(found)
    if methods and all(len(one.cells) == 1 for one in methods):
        lines.append(
            "Each method was trained with one configuration of settings; conclusions hold for that configuration."
        )
    missing = sum(len(cell.unfinished) for cell in found)
    if missing:
        lines.append(f"{not_ended(missing)}: the results are not final.")
    filled = sum(trial.filled for trial in trials)
    if filled:
        count = "counts" if filled == 1 else "count"
        lines.append(f"{how_many(filled, 'failed trial')} {count} with the score of the majority class.")
    lines += [f"{line}." for line in records.later_seeds]
    if records.problems:
        lines.append(f"{left_out(len(records.problems))}; the section on what is left out names each.")
    lines += notes
    return Section("How to read the numbers", (Points(tuple(lines)),), "about")


OF_CLASSES = (
    "calibration, ensembles of seeds, overlap of errors, confusion matrices, the audit of labels and the majority class"
)


def without_classes_section(found: Sequence[Cell]) -> Section:
    """Return a line for each dataset that some parts of the report leave out, since its labels are no classes."""
    left = {cell.dataset_name: cell.task.name for cell in found if not cell.has_classes}
    lines = tuple(f"{name} ({task.replace('_', ' ')}): {OF_CLASSES} are left out." for name, task in left.items())
    return Section("Parts that are for classification alone", (Points(lines),) if lines else (), "without-classes")


def failures_section(found: Sequence[Cell]) -> Section:
    """Return every trial that failed, with the first line of its error."""
    rows: list[tuple[Inline, ...]] = []
    for cell in found:
        for trial in cell.trials:
            if trial.error is not None:
                first = (trial.error.splitlines() or [""])[0]
                rows.append((Link(cell.title, f"#{cell.anchor}"), str(trial.seed), str(trial.status), first))
    blocks = (Grid(("cell", "seed", "status", "error"), tuple(rows)),) if rows else ()
    return Section("Trials that failed", blocks, "failed")


def left_out_section(records: SweepRecords) -> Section:
    """Return what is left out or doubtful, counted by kind and named."""
    parts = []
    for number, (kind, count) in enumerate(Counter(problem.kind for problem in records.problems).items(), 1):
        lines = tuple(problem.detail for problem in records.problems if problem.kind == kind)
        title = f"{kind[0].upper()}{kind[1:]}: {how_many(count, 'case')}"
        parts.append(Section(title, (Points(lines),), f"left-out-{number}"))
    return Section("Left out or doubtful", (), "left-out", tuple(parts))
