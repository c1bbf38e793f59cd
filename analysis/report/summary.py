"""What a report says of its own numbers: what they are, the best of each column, what is left out and why."""

from collections import Counter
from collections.abc import Sequence

from analysis.cells import Cell, metric_label
from analysis.names import SPLITS, metric_name
from analysis.report.document import Grid, Inline, Link, Points, Section
from analysis.sweep_records import SweepRecords
from analysis.tables.specs import EPOCHS
from analysis.tables.table import Entry, Standing, Table
from tunekit.parsing import how_many


def about_section(records: SweepRecords, found: Sequence[Cell], select: str) -> Section:
    """Return what the scores are, and how many trials there are in each state."""
    trials = [trial for cell in found for trial in cell.trials]
    states = Counter("unfinished" if trial.status is None else trial.status for trial in trials)
    splits = sorted({SPLITS[cell.split] for cell in found if not cell.searched})
    counted = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in states.items())
    lines = [f"{how_many(len(trials), 'trial')} in {how_many(len(found), 'cell')}: {counted}."]
    if splits:
        lines.append(f"Scores of the {EPOCHS[select]}, on the {' and '.join(splits)} split.")
    missing = sum(len(cell.unfinished) for cell in found)
    if missing:
        lines.append(f"{missing} trials that were asked for have not ended: what stands here is not final.")
    filled = sum(trial.filled for trial in trials)
    if filled:
        lines.append(f"{filled} failed trials count with the score of the majority class.")
    lines += [f"{line}." for line in records.later_seeds]
    if records.problems:
        lines.append(f"{len(records.problems)} things are left out or doubtful; they are listed below.")
    return Section("What these numbers are", (Points(tuple(lines)),), "about")


def headline_section(tables: Sequence[Table]) -> Section:
    """Return a line for each column of each table: its best row, and how every other row stands to it."""
    lines = []
    for table in tables:
        for column, heading in table.spec.columns.items():
            if column not in table.best:
                continue
            shown = [(_label(table, n, e), e) for (n, name), e in table.entries.items() if name == column]
            cells = [e.score.cell for _, e in shown if e.score.cell]
            name = metric_label(table.spec.metric, cells) if cells else metric_name(table.spec.metric)
            score = table.entries[table.best[column], column].text
            best = " and ".join(label for label, e in shown if e.standing is Standing.BEST)
            lines.append(f"{name}, {heading}: {'; '.join([f'{best} {score} is the best mean', *_others(shown)])}.")
    return Section("Best of each column", (Points(tuple(lines)),) if lines else (), "best")


def _label(table: Table, number: int, entry: Entry) -> str:
    """Return the label of a row, with its settings where the method was trained with several and one was chosen."""
    label, settings = table.spec.rows[number].label, entry.score.configuration
    return f"{label} ({settings})" if settings and not entry.score.left_out else label


def _others(shown: Sequence[tuple[str, Entry]]) -> list[str]:
    """Return which rows are worse than the best, not separable from it and not tested, and why not."""
    groups: dict[tuple[int, str], list[str]] = {}
    for label, entry in shown:
        one = entry.versus
        if one is None or entry.standing is Standing.BEST:
            continue
        where = "" if one.exact else f" on {one.population.value}"
        how = {
            Standing.WORSE: f"worse{where}",
            Standing.ALIKE: f"not separable from it{where}",
            Standing.NOT_TESTED: f"not tested ({one.reason})",
        }
        groups.setdefault((list(how).index(entry.standing), how[entry.standing]), []).append(label)
    return [f"{how}: {', '.join(labels)}" for (_, how), labels in sorted(groups.items())]


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
        parts.append(Section(f"{count} x {kind}", (Points(lines),), f"left-out-{number}"))
    return Section("Left out or doubtful", (), "left-out", tuple(parts))
