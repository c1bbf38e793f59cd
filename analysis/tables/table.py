"""A score table: its specification, its content, and its form in a notebook and in a terminal."""

import html
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import rich.console
import rich.markup
import rich.table

from analysis.compare import SHARE, Comparison, Population, Score
from analysis.names import estimate_text
from analysis.statistics.this_set import Sample
from tunekit.tasks import Metric


@dataclass(frozen=True)
class TableRow:
    """One row of a table: its label, and its scores by column."""

    label: str
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class TableSpec:
    """The specification of a table.

    Its tests are one family: each row against the best of its column, over all columns.
    """

    stem: str
    """The name, without suffix, of the files that the table is written to."""
    caption: str
    metric: str
    rows: tuple[TableRow, ...]
    columns: Mapping[str, str]
    """The heading of each column. A column is a dataset, or a class in a table of one dataset's classes."""
    notes: tuple[str, ...] = ()
    """The lines below the table that say which configurations its rows show."""
    ranked: bool = True
    """Whether the best of a column is bold and tested against the others. Settings of one method are not ranked."""


class Standing(StrEnum):
    """The result of an entry's comparison with the best of its column."""

    BEST = "best"
    ALIKE = "not significantly different from the best"
    WORSE = "significantly worse than the best"
    NOT_TESTED = "not tested"


_NOT_COMPARED = Comparison(Population.COMPARED, (0, 0), None)


@dataclass(frozen=True)
class Entry:
    """One filled place of a table."""

    score: Score
    standing: Standing
    versus: Comparison | None
    """The comparison of this row with the best of its column; None for the best, and where there is no best."""
    marks: str
    """The letters of the notes that concern it."""

    @property
    def bold(self) -> bool:
        """Whether its printed mean is the best of its column."""
        return self.standing is Standing.BEST

    @property
    def dagger(self) -> bool:
        """Whether a test could not separate it from the best of its column."""
        return self.standing is Standing.ALIKE

    @property
    def facts(self) -> dict[str, Any]:
        """The values for CSV and JSON: the score as recorded, its standing, its comparison with the column's best."""
        sample, one = self.score.sample, self.versus
        return {
            "configuration": self.score.configuration,
            "mean": sample.mean if sample else None,
            "std": sample.std if sample else None,
            "n": sample.n if sample else 0,
            "expected": self.score.expected,
            "standing": self.standing.value,
            "tested": one is not None and one.tested,
            **(one or _NOT_COMPARED).facts,
            "values": list(sample.values) if sample else [],
        }

    @property
    def text(self) -> str:
        """The text ``77.41 ± 2.81``, with ``(4/5)`` behind it where seeds are missing; ``-`` for n = 0."""
        sample = self.score.sample
        count = 0 if sample is None else sample.n
        partial = f" ({count}/{self.score.expected})" if count != self.score.expected else ""
        return (shown(sample, self.score.measure) if sample else "-") + partial


NO_ENTRY = Entry(Score(None, 0), Standing.NOT_TESTED, None, "")
"""A place of a table that has no trials."""


@dataclass(frozen=True)
class Table:
    """A filled table. A notebook shows it as HTML, and ``str`` gives it as text for a terminal."""

    spec: TableSpec
    entries: Mapping[tuple[int, str], Entry]
    """The filled places by row number, from 0, and column."""
    notes: tuple[str, ...]
    """The lines below the table: on its values, its comparisons and its marks, and the lettered notes."""
    best: Mapping[str, int] = field(default_factory=dict)
    """The number of the row that the others are compared with, by column, for columns where two or more take part."""

    def __str__(self) -> str:
        """Return the table as text that is never cut to a terminal's width."""
        shown = terminal(self)
        width = rich.console.Console(width=10_000).measure(shown).maximum
        console = rich.console.Console(file=io.StringIO(), width=max(width, 80), highlight=False, force_jupyter=False)
        with console.capture() as capture:
            console.print(shown)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self)


def difference_text(found: Comparison | None) -> str:
    """Return a difference in its metric's unit with interval, p, test and what it holds for, or why it was not tested.

    The p is the corrected one, or the uncorrected one where it has not been corrected. It is empty without a
    difference.
    """
    if found is None or found.difference is None:
        return ""
    if found.estimate is None:
        return f"{found.measure.number(found.difference, '+')} (not tested: {found.reason})"
    bounds = found.estimate.interval
    p = f"uncorrected p = {found.p:.3g}" if found.p_corrected is None else f"corrected p = {found.p_corrected:.3g}"
    around = estimate_text(found.measure, found.difference, bounds.low, bounds.high, "+")
    return f"{around}, {p} ({found.test}), {found.population.value}"


def shown(sample: Sample, measure: Metric) -> str:
    """Return ``mean ± std`` in the unit of the metric; the mean alone for n = 1."""
    return " ± ".join(measure.numbers(sample.mean, *([] if sample.std is None else [sample.std])))


def percent(sample: Sample) -> str:
    """Return ``mean ± std`` in percent with two decimals; the mean alone for n = 1."""
    return shown(sample, SHARE)


def html_table(table: Table, linked: bool = False) -> str:
    """Return a table element with its caption and a list of its notes.

    With ``linked``, each score links to the trials of its cell, as a report lists them.
    """

    def entry(one: Entry) -> str:
        text = html.escape(one.text)
        if linked and one.score.cell is not None:
            text = f'<a href="#{one.score.cell.anchor}">{text}</a>'
        mark = ("†" if one.dagger else "") + one.marks
        return f"<td>{f'<strong>{text}</strong>' if one.bold else text}{f'<sup>{mark}</sup>' if mark else ''}</td>"

    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in ["", *table.spec.columns.values()])
    body = "".join(
        f'<tr><th scope="row">{html.escape(row.label)}</th>{"".join(row_texts(table, number, entry, "<td></td>"))}'
        "</tr>\n"
        for number, row in enumerate(table.spec.rows)
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    caption = html.escape(table.spec.caption)
    return (
        f'<table class="scores"><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table>\n"
        f'<ul class="notes">{notes}</ul>\n'
    )


def terminal(table: Table) -> rich.table.Table:
    """Return the table for a console, its caption above and its notes below."""

    def entry(one: Entry) -> str:
        text = rich.markup.escape(marked(one))
        return f"[bold]{text}[/]" if one.bold else text

    notes = "\n".join(table.notes)
    shown = rich.table.Table(
        title=rich.markup.escape(table.spec.caption),
        caption=rich.markup.escape(notes),
        title_justify="left",
        caption_justify="left",
    )
    shown.add_column("")
    for heading in table.spec.columns.values():
        shown.add_column(rich.markup.escape(heading), justify="right", no_wrap=True)
    for number, row in enumerate(table.spec.rows):
        shown.add_row(rich.markup.escape(row.label), *row_texts(table, number, entry))
    return shown


def marked(one: Entry) -> str:
    """Return the text of an entry with its marks behind it."""
    return one.text + ("†" if one.dagger else "") + (f" {one.marks}" if one.marks else "")


def row_texts(table: Table, number: int, render: Callable[[Entry], str], absent: str = "") -> list[str]:
    """Return the entries of row ``number`` as ``render`` writes them, and ``absent`` where the row has none."""
    found = (table.entries.get((number, column)) for column in table.spec.columns)
    return [absent if entry is None else render(entry) for entry in found]
