"""`tunekit published`: the study's printed tables and claims, from the register of published numbers."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.planning.args import Format

if TYPE_CHECKING:
    from analysis.claims.published import PublishedTable
    from analysis.tables.table import Table


def write_published(out: Path, form: Format) -> None:
    """Write the study's tables and the verdicts on its claims to ``out``, and print the tables."""
    from analysis.claims.published import published_lookup, register, tables
    from analysis.claims.verdicts import evaluate, load_claims
    from analysis.memory.saving_claim import with_closed_form
    from analysis.report.answer import answer_section
    from analysis.report.claims_section import claims_section
    from analysis.report.comparisons import comparisons_section
    from analysis.report.document import Section
    from analysis.report.report import Report
    from tunekit.commands.analyse import write_and_print

    filled = [_filled(table) for table in tables()]
    sections = [
        answer_section(filled),
        Section("Scores", tuple(filled), "scores"),
        comparisons_section(filled),
        claims_section(evaluate(load_claims(), with_closed_form(published_lookup(register())))),
    ]
    write_and_print(Report("The study's published numbers", filled, (), sections), out, form)


def _filled(printed: "PublishedTable") -> "Table":
    """Return a printed table as a ``Table``, with a note on each accuracy that no whole number of items gives."""
    from analysis.compare import Score
    from analysis.report.published_section import grim_note
    from analysis.statistics.this_set import Sample
    from analysis.tables.build import build
    from analysis.tables.table import TableRow, TableSpec

    notes = []
    rows = []
    for row in printed.rows:
        samples = {}
        for score in row.scores:
            std = None if score.std is None else float(score.std / 100)
            samples[score.dataset] = Score(Sample(float(score.mean / 100), std, score.n or 1), score.n or 1)
            if note := grim_note(score):
                notes.append(f"GRIM: {row.label} {score.mean} on {score.dataset} {note}.")
        rows.append(TableRow(row.label, samples))
    spec = TableSpec(
        stem=f"table-{printed.number}",
        caption=f"Table {printed.number}: {printed.caption}",
        metric=printed.metric,
        rows=tuple(rows),
        columns=dict(zip(printed.datasets, printed.labels, strict=True)),
    )
    table = build(spec)
    return replace(table, notes=(*table.notes, *notes))
