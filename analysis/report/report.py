"""The report of one or more sweeps: its tables, and its sections in the order in which they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from analysis.across import Across, across
from analysis.cells import Cell, cells, metric_label
from analysis.claims.measured import cell_lookup
from analysis.claims.verdicts import evaluate, load_claims
from analysis.epoch_choice import SELECTIONS
from analysis.figures.captioned import DEFAULT_FORMATS, CaptionedFigure, save
from analysis.logits import with_logits
from analysis.names import PER_CLASS, PRIMARY
from analysis.pairs import pairs_csv
from analysis.rates import rate_maps
from analysis.report.across_section import across_latex, across_section, across_stem
from analysis.report.answer import answer_section
from analysis.report.audit import audit_all, audit_section
from analysis.report.baselines import trivial_sentences
from analysis.report.claims_section import claims_section
from analysis.report.comparisons import comparisons_section, single_runs_section
from analysis.report.data_files import data_files
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
from analysis.report.majority import filled_with_majority, majority_scores
from analysis.report.pages import html_page, markdown_page
from analysis.report.probabilities_section import (
    calibration_section,
    ensembles_section,
    overlap_section,
    patience_section,
)
from analysis.report.published_section import published_section
from analysis.report.rates_section import rates_section
from analysis.report.search_section import search_section
from analysis.report.setup_section import setup_section, training_sentences
from analysis.report.summary import (
    about_section,
    failures_section,
    left_out_section,
    without_classes_section,
)
from analysis.search import search_results
from analysis.sweep_records import SweepRecords
from analysis.tables.build import build
from analysis.tables.render import write
from analysis.tables.specs import (
    all_cells_spec,
    check_metric,
    default_specs,
    recorded,
    settings_specs,
)
from analysis.tables.table import Table
from analysis.units import reported_metrics

KINDS: Mapping[str, str] = {
    "curves": "Learning curves",
    "overview": "Learning curves side by side",
    "cost": "Score against cost",
    "spread": "Scores of single seeds",
    "confusion": "Confusion matrices",
    "across": "Mean ranks over datasets",
    "rates": "Learning rates of a grid",
    "sensitivity": "Learning-rate sensitivity",
    "budget": "Expected validation performance against budget",
    "history": "Optimisation history",
    "slice": "Scores over each parameter",
    "contour": "Scores over two parameters",
    "importance": "Parameter importance",
    "front": "Pareto front of two objectives",
}


@dataclass(frozen=True)
class Choices:
    """The options of a report."""

    select: str = SELECTIONS[0]
    """The epoch whose scores count: ``last``, ``best-val`` or ``best-test``."""
    metrics: Sequence[str] = ()
    """The metrics of the tables; those that the tasks report where none is named."""
    published: bool = False
    """Whether tables show the published value beside each cell."""
    fill: bool = False
    """Whether failed trials count with the score of the majority class."""
    margin: float | None = None
    """The margin of the tests of equivalence, in [0, 1]; None for no such tests."""
    pair: bool = False
    """Whether rows that share their initialisation are also compared seed by seed."""
    formats: Sequence[str] = DEFAULT_FORMATS
    """The formats of the figures' files: of svg, pdf and png; none for a report without figures."""
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
    data: Mapping[str, str] = field(default_factory=dict)
    """The texts of the files that hold the numbers of all trials, epochs and pairs of rows, by name."""
    over_datasets: Sequence[Across] = ()
    """The comparisons over datasets, one a metric."""
    formats: Sequence[str] = DEFAULT_FORMATS
    """The formats of the figures' files."""


def compose(records: SweepRecords, choices: Choices, out: Path) -> Report:
    """Return the report of ``records``; ``out`` is the folder it will be written to.

    Raises UserError on bad choices, and DamagedRecord where a trial's predictions or steps can't be read.
    """
    found = cells(records, choices.select)
    metrics = choices.metrics or reported_metrics(found)
    for metric in metrics:
        check_metric(metric, found)
    scored = filled_with_majority(records, found) if choices.fill else found
    specs = default_specs(scored, metrics, choices.select)
    tables = [build(spec) for spec in specs]
    settings = [build(spec) for spec in settings_specs(scored, metrics, choices.select)]
    primary = {cell.task.primary for cell in scored}
    main = [metric for metric in metrics if metric in primary] or metrics[:1]
    # A table of all primary metrics answers for those of each, but no figure shows it, since a figure has one unit.
    answering = [table for table in tables if table.spec.metric in main and table.spec.metric != PRIMARY]
    answers = [table for table in tables if table.spec.metric == PRIMARY] or answering
    over_datasets = compare_over_datasets(records, scored, metrics, choices.select)
    figures: list[CaptionedFigure] = []
    note = ""
    if choices.formats:
        from analysis.figures.glyphs import glyph_note  # loads matplotlib
        from analysis.report.report_figures import report_figures

        figures = report_figures(records, found, answering, over_datasets, choices.formats)
        note = glyph_note([text for cell in found for text in (cell.title, *cell.label_names)])
    logits = with_logits([cell for cell in found if cell.has_classes])
    copies, damaged = audit_all(records.stores)
    verdicts = evaluate(load_claims(choices.claims), cell_lookup(scored))
    main_figures = [figure for figure in figures if figure.kind == "forest"]
    shown = [
        answer_section(answers, main_figures, (training_sentences(records, scored), trivial_sentences(scored, copies))),
        setup_section(records, found, copies, choices.select),
        about_section(records, scored, tables, choices.select, [note] if note else []),
        Section("Scores", tuple(tables), "scores"),
        across_section(over_datasets),
        published_section(scored, metrics) if choices.published else None,
        claims_section(verdicts, every=choices.claims is not None),
        rates_section(rate_maps(scored, records.default_rates), scored),
        search_section(search_results(records, found)),
        costs_section(found),
        *figure_sections(figures),
        without_classes_section(found),
        failures_section(found),
        left_out_section(records),
    ]
    details = [
        Section("All settings", tuple(settings), "all-settings"),
        settings_section(scored),
        selection_section(records),
        intervals_section(scored),
        comparisons_section(tables, choices.margin, choices.pair),
        single_runs_section(tables),
        calibration_section(logits),
        ensembles_section(logits),
        overlap_section(logits),
        patience_section(records, found),
        predictions_section(found),
        audit_section(copies, damaged),
        provenance_section(records),
        trials_section(records, found, out),
    ]
    title = ", ".join(store.root.name for store in records.stores)
    pairs = pairs_csv(tables)
    return Report(
        title=title,
        tables=tables,
        figures=figures,
        sections=[*kept(shown), *(replace(one, folded=True) for one in kept(details))],
        settings=settings,
        data={**data_files(records), **({"pairs.csv": pairs} if pairs else {})},
        over_datasets=[one for _, one in over_datasets],
        formats=choices.formats,
    )


def compare_over_datasets(
    records: SweepRecords, found: Sequence[Cell], metrics: Sequence[str], select: str
) -> list[tuple[str, Across]]:
    """Return each metric's name with the comparison of all rows over datasets; scores of classes are left out.

    Raises DamagedRecord where a copy of a dataset is damaged.
    """
    shown = [cell for cell in found if not cell.searched]
    floor = majority_scores(records)
    return [
        (metric_label(metric, shown), across(all_cells_spec(shown, metric, select), floor))
        for metric in metrics
        if metric != PER_CLASS and recorded(shown, metric)
    ]


def write_all(report: Report, out: Path) -> list[Path]:
    """Write tables, figures and pages of ``report`` to ``out``, and return the paths of the pages. Raises OSError."""
    for table in (*report.tables, *report.settings):
        write(table, out / "tables")
    for one in report.over_datasets:
        if one.compared is not None:
            path = out / "tables" / f"{across_stem(one)}.csv"
            path.write_text(one.frame.to_csv(index=False), encoding="utf-8")
            path.with_suffix(".tex").write_text(across_latex(one), encoding="utf-8")
    if report.figures:
        save(report.figures, out / "figures", report.formats)
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
