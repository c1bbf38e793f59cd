"""The report of one or more sweeps: what its tables are, and its sections in the order in which they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.cells import SELECTIONS, cells
from analysis.claims.measured import cell_lookup
from analysis.claims.verdicts import evaluate, load_claims
from analysis.figures.captioned import CaptionedFigure
from analysis.figures.drawing import save
from analysis.figures.figures import figures_of
from analysis.report.audit import audit, audit_section, filled_with_majority
from analysis.report.claims_section import claims_section
from analysis.report.comparisons import comparisons_section, single_runs_section
from analysis.report.document import Section, kept
from analysis.report.evidence import (
    costs_section,
    intervals_section,
    predictions_section,
    provenance_section,
    selection_section,
    settings_section,
    trials_section,
)
from analysis.report.pages import html_page, markdown_page
from analysis.report.published_section import published_section
from analysis.report.search_section import search_section
from analysis.report.summary import (
    about_section,
    failures_section,
    headline_section,
    left_out_section,
)
from analysis.search import search_results
from analysis.sweep_records import SweepRecords
from analysis.tables.build import build
from analysis.tables.render import write
from analysis.tables.specs import check_metric, default_specs, settings_specs
from analysis.tables.table import Table

KINDS: Mapping[str, str] = {
    "curves": "Learning curves",
    "overview": "Learning curves side by side",
    "cost": "Score against cost",
    "spread": "Seeds",
    "confusion": "Confusion matrices",
    "sensitivity": "Learning-rate sensitivity",
    "budget": "Expected validation performance against budget",
    "history": "Optimisation history",
    "slice": "Scores over each parameter",
    "contour": "Scores over two parameters",
    "importance": "Parameter importance",
    "front": "Two objectives",
}


@dataclass(frozen=True)
class Choices:
    """What a report may be asked for beyond its sweeps."""

    select: str = SELECTIONS[0]
    """The epoch whose scores count: ``last``, ``best-val`` or ``best-test``."""
    metrics: Sequence[str] = ("accuracy", "macro_f1")
    published: bool = False
    """Whether the published value stands beside each cell."""
    fill: bool = False
    """Whether failed trials count with the score of the majority class."""
    margin: float | None = None
    """The margin of the tests of equivalence, in [0, 1]; None for no such tests."""
    pair: bool = False
    """Whether rows that share their initialisation are also compared seed by seed."""
    claims: Path | None = None
    """The YAML file of the claims to check; the study's nine claims where None."""


@dataclass(frozen=True)
class Report:
    """A report, before it is written."""

    title: str
    tables: Sequence[Table]
    """The score tables."""
    figures: Sequence[CaptionedFigure]
    sections: Sequence[Section]
    settings: Sequence[Table] = ()
    """The tables of all settings, which are written and not printed."""


def compose(records: SweepRecords, choices: Choices, out: Path) -> Report:
    """Return the report of ``records``; ``out`` is the folder it will stand in.

    Raises UserError on bad choices, and DamagedRecord where a trial's predictions or steps can't be read.
    """
    for metric in choices.metrics:
        check_metric(metric)
    found = cells(records, choices.select)
    scored = filled_with_majority(records, found) if choices.fill else found
    specs = default_specs(scored, choices.metrics, choices.select)
    tables = [build(spec) for spec in specs]
    settings = [build(spec) for spec in settings_specs(scored, choices.metrics, choices.select)]
    figures = figures_of(records, found)
    audits = [audit(store.root) for store in records.stores]
    verdicts = evaluate(load_claims(choices.claims), cell_lookup(scored))
    sections = [
        about_section(records, scored, choices.select),
        headline_section(tables),
        Section("Scores", tuple(tables), "scores"),
        Section("All settings", tuple(settings), "all-settings"),
        settings_section(scored),
        published_section(scored, choices.metrics) if choices.published else None,
        selection_section(records),
        intervals_section(scored),
        comparisons_section(tables, choices.margin, choices.pair),
        single_runs_section(tables),
        claims_section(verdicts, every=choices.claims is not None),
        search_section(search_results(records, found)),
        costs_section(found),
        predictions_section(found),
        *figure_sections(figures),
        *(audit_section(*one) for one in audits),
        failures_section(found),
        left_out_section(records),
        provenance_section(records),
        trials_section(records, found, out),
    ]
    title = ", ".join(store.root.name for store in records.stores)
    return Report(title, tables, figures, kept(one for one in sections if one is not None), settings)


def write_all(report: Report, out: Path) -> list[Path]:
    """Write tables, figures and pages of ``report`` to ``out``, and return the paths of the pages. Raises OSError."""
    for table in (*report.tables, *report.settings):
        write(table, out / "tables")
    save(report.figures, out / "figures")
    return write_report(report, out)


def write_report(report: Report, out: Path) -> list[Path]:
    """Write ``out/report.md`` and ``out/report.html``, and return their paths. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    pages = {
        "report.md": markdown_page(report.title, report.sections),
        "report.html": html_page(report.title, report.sections),
    }
    for name, text in pages.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in pages]


def figure_sections(figures: Sequence[CaptionedFigure]) -> list[Section]:
    """Return a section for each kind of figure that there is."""
    return [
        Section(title, blocks, f"figures-{kind}")
        for kind, title in KINDS.items()
        if (blocks := tuple(captioned for captioned in figures if captioned.kind == kind))
    ]
