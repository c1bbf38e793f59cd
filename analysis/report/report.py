"""The report of one or more sweeps: what its tables are, and its sections in the order in which they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.cells import SELECTIONS, Cell, cells
from analysis.claims.published import Lookup
from analysis.claims.verdicts import Verdict, evaluate, load_claims
from analysis.figures.captioned import CaptionedFigure
from analysis.figures.drawing import save
from analysis.figures.figures import figures_of
from analysis.report.audit import audit, audit_section, filled_with_majority
from analysis.report.comparisons import comparisons_section, single_runs_section
from analysis.report.data_files import data_files
from analysis.report.document import Section, kept
from analysis.report.evidence import (
    costs_section,
    intervals_section,
    predictions_section,
    provenance_section,
    selection_section,
    trials_section,
)
from analysis.report.pages import html_page, markdown_page
from analysis.report.search_section import search_section
from analysis.report.summary import (
    about_section,
    claims_section,
    failures_section,
    headline_section,
    left_out_section,
    published_section,
)
from analysis.search import search_results
from analysis.statistics.this_set import Sample
from analysis.sweep_records import SweepRecords
from analysis.tables.build import build, check_metric, default_specs
from analysis.tables.render import write
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
    figures: Sequence[CaptionedFigure]
    sections: Sequence[Section]
    data: Mapping[str, str] = field(default_factory=dict)
    """The texts of the files that hold the numbers of all trials and epochs, by name."""


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
    figures = figures_of(records, found)
    audits = [audit(store.root) for store in records.stores]
    verdicts = evaluate(load_claims(choices.claims), lookup_of(scored))
    testable = any(one.verdict is not Verdict.NOT_TESTABLE for one in verdicts)
    sections = [
        about_section(records, scored, choices.select),
        headline_section(tables),
        Section("Scores", tuple(tables), "scores"),
        published_section(found, choices.metrics) if choices.published else None,
        selection_section(records),
        intervals_section(scored),
        comparisons_section(tables, choices.margin, choices.pair),
        single_runs_section(tables),
        claims_section(verdicts) if choices.claims or testable else None,
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
    present = kept(one for one in sections if one is not None)
    return Report(title, tables, figures, present, data=data_files(records))


def write_all(report: Report, out: Path) -> list[Path]:
    """Write tables, figures and pages of ``report`` to ``out``, and return the paths of the pages. Raises OSError."""
    for table in report.tables:
        write(table, out / "tables")
    save(report.figures, out / "figures")
    pages = write_report(report, out)
    for name, text in report.data.items():
        (out / name).write_text(text, encoding="utf-8")
    return pages


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


def lookup_of(found: Sequence[Cell]) -> Lookup:
    """Return the samples for claims.

    Of several configurations of one model, dataset and method, the best mean on validation.
    """
    chosen: dict[tuple[str, str, str], Cell] = {}
    for cell in found:
        if cell.searched or cell.failures:
            continue
        key = (cell.model, cell.method, cell.dataset)
        if key not in chosen or _validation(cell) > _validation(chosen[key]):
            chosen[key] = cell

    def lookup(model: str, method: str, dataset: str, metric: str) -> Sample | None:
        cell = chosen.get((model, method, dataset))
        if cell is None:
            return None
        if metric == "overfit":
            train, test = cell.by_seed("fit_accuracy"), cell.by_seed("accuracy")
            gaps = [train[seed] - test[seed] for seed in train if seed in test]
            return Sample.of(gaps) if gaps else None
        return cell.sample(metric)

    return lookup


def _validation(cell: Cell) -> float:
    values = [trial.scores["best_val_macro_f1"] for trial in cell.completed if "best_val_macro_f1" in trial.scores]
    return sum(values) / len(values) if values else float("-inf")
