"""The report's first part, which is read in a minute: sentences on each dataset, and a figure of the differences."""

from collections.abc import Iterator, Sequence

from analysis.cells import metric_label
from analysis.compare import Comparison
from analysis.figures.captioned import CaptionedFigure
from analysis.names import PRIMARY, interval_text, listed, metric_name
from analysis.report.document import Block, Paragraph, Points, Section
from analysis.statistics.power import ALPHA
from analysis.tables.table import Entry, Standing, Table
from analysis.tables.table import shown as shown_score
from tunekit.parsing import how_many

MOST_DIFFERENCES = 4
"""The most rows of a column whose differences from the best are in its sentences; a figure shows those of all."""

Shown = list[tuple[str, Entry]]
"""The rows of one column, each with its label and its entry."""


def answer_section(
    tables: Sequence[Table], figures: Sequence[CaptionedFigure] = (), before: Sequence[str] = ()
) -> Section:
    """Return the answer of ``tables``: sentences on each column, and ``figures`` of their differences.

    The paragraphs ``before`` come first, such as how the rows were trained; empty ones are left out. The sentences
    agree with the marks of the tables. Those of several tables have the captions above them, since a dataset may have
    another best row among other rows. The section is empty where no table ranks its rows.
    """
    answers: dict[str, list[str]] = {}  # tables of two tasks that both have macro-F1 have one caption
    for table in tables:
        lines = [_sentence(table, *column) for column in ranked_columns(table)]
        if lines:
            answers.setdefault(table.spec.caption, []).extend(lines)
    blocks: list[Block] = [Paragraph(text) for text in before if text]
    for caption, lines in answers.items():
        blocks += [*([Paragraph(caption)] if len(answers) > 1 else []), Points(tuple(lines))]
    return Section("Main result", (*blocks, *figures) if answers else (), "answer")


def ranked_columns(table: Table) -> Iterator[tuple[str, Shown]]:
    """Yield each column that has a best row, with its rows."""
    for column in table.spec.columns:
        if column in table.best:
            yield (
                column,
                [(table.spec.rows[n].label, one) for (n, name), one in table.entries.items() if name == column],
            )


def metric_of(table: Table) -> str:
    """Return the name of a table's metric as its cells have it."""
    cells = [one.score.cell for one in table.entries.values() if one.score.cell]
    return metric_label(table.spec.metric, cells) if cells else metric_name(table.spec.metric)


def _sentence(table: Table, column: str, shown: Shown) -> str:
    """Return the sentences on one column: its best row, and the difference of the other rows from it."""
    number = table.best[column]
    label, best = table.spec.rows[number].label, table.entries[number, column]
    others = [(name, one) for name, one in shown if one is not best and one.versus and one.score.sample]
    tested = [(name, one) for name, one in others if one.standing is not Standing.NOT_TESTED]
    alike = any(one.standing is not Standing.WORSE for _, one in tested)
    measure, sample = best.score.measure, best.score.sample
    metric = measure.label if table.spec.metric == PRIMARY else metric_of(table)
    highest = "highest" if measure.sign > 0 else "lowest"
    told = f"{table.spec.columns[column]}: {label} "
    told += f"is best by mean {metric}" if tested and not alike else f"has the {highest} mean {metric}"
    if sample is not None:
        over = "" if sample.std is None else "mean ± sample standard deviation over "
        score = f"{shown_score(sample, measure)} {measure.unit}".strip()
        told += f", {score} ({over}{how_many(sample.n, 'seed')})"
    if not tested:
        reasons = list(dict.fromkeys(one.versus.reason for _, one in others if one.versus))
        why = f": {reasons[0]}" if len(reasons) == 1 else "; the letters below the table say why"
        return f"{told}. No difference was tested{why}."
    return " ".join([f"{told}.", *_differences(tested), *_untested(others)])


def _differences(tested: Shown) -> list[str]:
    """Return a sentence for each of the best rows of ``tested``, and one for all the others of each verdict."""
    ordered = sorted(tested, key=lambda item: -_merit(item[1]))
    populations = {one.versus.population for _, one in ordered if one.versus}
    tests = {one.versus.test for _, one in ordered if one.versus}
    told = []
    for place, (name, one) in enumerate(ordered[:MOST_DIFFERENCES]):
        if one.versus is not None:
            first = place == 0
            where = f" on {one.versus.population.value}" if first or len(populations) > 1 else ""
            test = f" by {one.versus.test}" if first or len(tests) > 1 else ""
            told.append(_difference("It", one.versus, name, where, test))
    rest = ordered[MOST_DIFFERENCES:]
    for worse in (False, True):
        names = [name for name, one in rest if (one.standing is Standing.WORSE) == worse]
        if names:
            differs = "The differences from" if len(names) > 1 else "The difference from"
            are = "are" if len(names) > 1 else "is"
            told.append(f"{differs} {listed(names)} {are} {'' if worse else 'not '}significant.")
    return told


def _merit(entry: Entry) -> float:
    """Return the mean with the sign by which a higher value is better."""
    score = entry.score
    return score.measure.sign * score.sample.mean if score.sample else 0.0


def _difference(subject: str, one: Comparison, other: str, where: str, test: str) -> str:
    """Return the sentence that ``subject`` lies so far above ``other``, or below it, with interval, p and verdict.

    ``one`` is the row ``other`` minus the row of ``subject``; the sentence is about the latter. ``where`` names the
    population of the interval, and ``test`` the test that gave the p. Raises ValueError where there is no comparison.
    """
    if one.difference is None:
        raise ValueError(f"{other} was not compared")
    points = " points" if one.measure.unit == "%" else ""
    distance = f"{one.measure.number(abs(one.difference))}{points}"
    told = f"{subject} is {distance} {'above' if one.difference <= 0 else 'below'} {other}"
    p = one.p_corrected
    if one.low is None or one.high is None or p is None:
        return f"{told} in every run, so that nothing had to be tested."
    interval = f"95 % interval {interval_text(one.measure, -one.high, -one.low)}{where}"
    verdict = "significant" if p <= ALPHA else "not significant"
    return f"{told} ({interval}, corrected p {_p(p)}{test}); this difference is {verdict}."


def _p(p: float) -> str:
    return "< 0.001" if p < 1e-3 else f"= {p:.2g}"


def _untested(others: Shown) -> list[str]:
    """Return a sentence for each reason for which rows were not tested."""
    untested: dict[str, list[str]] = {}
    for name, one in others:
        if one.standing is Standing.NOT_TESTED and one.versus:
            untested.setdefault(one.versus.reason, []).append(name)
    return [
        f"{listed(names)} {'was' if len(names) == 1 else 'were'} not tested ({reason})."
        for reason, names in untested.items()
    ]
