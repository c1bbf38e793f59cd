"""The report's first part, which is read in a minute: a sentence a dataset, and a figure of the differences."""

from collections.abc import Iterator, Sequence

from analysis.cells import metric_label
from analysis.figures.captioned import CaptionedFigure
from analysis.names import metric_name
from analysis.report.document import Block, Paragraph, Points, Section
from analysis.tables.table import Entry, Standing, Table
from analysis.tables.table import shown as shown_score

Shown = list[tuple[str, Entry]]
"""The rows of one column: each one's label and entry."""


def answer_section(tables: Sequence[Table], figures: Sequence[CaptionedFigure] = ()) -> Section:
    """Return the answer of ``tables``: a sentence a column, and ``figures`` of their differences.

    The sentences say what the marks of the tables say. Those of several tables stand under the captions, since one
    dataset has another best row among other rows. The section is empty where no table ranks its rows.
    """
    answers = {
        table.spec.caption: tuple(_sentence(table, *column) for column in ranked_columns(table)) for table in tables
    }
    answers = {caption: lines for caption, lines in answers.items() if lines}
    blocks: list[Block] = []
    for caption, lines in answers.items():
        blocks += [*([Paragraph(caption)] if len(answers) > 1 else []), Points(lines)]
    return Section("What came out", (*blocks, *figures) if blocks else (), "answer")


def ranked_columns(table: Table) -> Iterator[tuple[str, Shown]]:
    """Yield each column that has a best row, with its rows."""
    for column in table.spec.columns:
        if column in table.best:
            yield (
                column,
                [(table.spec.rows[n].label, one) for (n, name), one in table.entries.items() if name == column],
            )


def metric_of(table: Table) -> str:
    """Return what the cells of a table call its metric."""
    cells = [one.score.cell for one in table.entries.values() if one.score.cell]
    return metric_label(table.spec.metric, cells) if cells else metric_name(table.spec.metric)


def _sentence(table: Table, column: str, shown: Shown) -> str:
    """Return what one column says: its best row, the row that comes next, and how all others stand to the best."""
    number = table.best[column]
    label, best = table.spec.rows[number].label, table.entries[number, column]
    sample = best.score.sample
    measure = best.score.measure
    score = "" if sample is None else shown_score(sample, measure)
    unit = " in percent" if measure.unit == "%" else ""
    seeds = "" if sample is None else f" ({metric_of(table)}{unit}, n = {sample.n})"
    highest = "highest" if measure.sign > 0 else "lowest"
    heading = table.spec.columns[column]
    others = [(name, one) for name, one in shown if one is not best and one.versus and one.score.sample]
    tested = [(name, one) for name, one in others if one.standing is not Standing.NOT_TESTED]
    if not tested:
        reasons = list(dict.fromkeys(one.versus.reason for _, one in others if one.versus))
        why = f": {reasons[0]}" if len(reasons) == 1 else "; the letters below the table say why"
        return f"{heading}: {label} has the {highest} mean, {score}{seeds}. Nothing is tested{why}."
    alike = [name for name, one in tested if one.standing in (Standing.ALIKE, Standing.BEST)]
    runner_up, entry = max(
        tested, key=lambda item: measure.sign * item[1].score.sample.mean if item[1].score.sample else 0.0
    )
    told = f"{heading}: {label} " + (f"has the {highest} mean" if alike else "is best") + f", {score}{seeds}"
    told += f"; {_lead('it', runner_up, entry)}."
    if alike:
        told += f" {_listed(alike)} can't be told from it."
    worse = [(name, one) for name, one in tested if one.standing is Standing.WORSE and (alike or name != runner_up)]
    for name, one in worse:
        told += f" {name} is worse: {_lead(label, 'it', one)}."
    untested: dict[str, list[str]] = {}
    for name, one in others:
        if one.standing is Standing.NOT_TESTED and one.versus:
            untested.setdefault(one.versus.reason, []).append(name)
    for reason, names in untested.items():
        told += f" {_listed(names)} {'is' if len(names) == 1 else 'are'} not tested ({reason})."
    return told


def _lead(best: str, label: str, entry: Entry) -> str:
    """Return how far the row called ``best`` lies above ``entry``, with the interval, what it holds for, and the p."""
    one = entry.versus
    if one is None or one.difference is None:
        raise ValueError(f"{label} was not compared")
    number = one.measure.number
    points = " points" if one.measure.unit == "%" else ""
    above = f"{number(abs(one.difference))}{points} {'above' if one.difference <= 0 else 'below'} {label}"
    if one.low is None or one.high is None:
        return f"{best} lies {above}, in every seed the same"
    # The comparison is the row minus the best; the sentence is about the best.
    bounds = f"95 % interval {number(-one.high)} to {number(-one.low)} on {one.population.value}"
    p = (
        ""
        if one.p_corrected is None
        else ", corrected p < 0.001"
        if one.p_corrected < 1e-3
        else f", corrected p = {one.p_corrected:.2g}"
    )
    return f"{best} lies {above} ({bounds}{p})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
