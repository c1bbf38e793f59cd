"""The report of one or more sweeps: what its tables are, and its sections in the order in which they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.across import Across, across
from analysis.cells import SELECTIONS, Cell, cells, metric_label
from analysis.claims.published import Lookup
from analysis.claims.verdicts import Verdict, evaluate, load_claims
from analysis.figures.captioned import CaptionedFigure
from analysis.figures.critical_difference import critical_difference_figure
from analysis.figures.drawing import save
from analysis.figures.figures import figures_of
from analysis.report.across_section import across_section
from analysis.report.audit import audit, audit_section, filled_with_majority, majority_scores
from analysis.report.comparisons import comparisons_section, single_runs_section
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
from analysis.report.probabilities_section import (
    calibration_section,
    ensembles_section,
    overlap_section,
    patience_section,
)
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
from analysis.tables.build import PER_CLASS, all_cells_spec, build, check_metric, default_specs, recorded
from analysis.tables.render import write
from analysis.tables.table import Table

KINDS: Mapping[str, str] = {
    "curves": "Learning curves",
    "overview": "Learning curves side by side",
    "cost": "Score against cost",
    "spread": "Seeds",
    "confusion": "Confusion matrices",
    "across": "Mean ranks over datasets",
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
    over_datasets: Sequence[Across] = ()
    """The comparisons over datasets, one a metric."""


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
    over_datasets = compare_over_datasets(records, scored, choices.metrics, choices.select)
    ranked = [critical_difference_figure(one, name, one.metric) for name, one in over_datasets]
    figures = [*figures_of(records, found), *(figure for figure in ranked if figure)]
    audits = [audit(store.root) for store in records.stores]
    verdicts = evaluate(load_claims(choices.claims), lookup_of(scored))
    testable = any(one.verdict is not Verdict.NOT_TESTABLE for one in verdicts)
    sections = [
        about_section(records, scored, choices.select),
        headline_section(tables),
        Section("Scores", tuple(tables), "scores"),
        across_section(over_datasets),
        published_section(found, choices.metrics) if choices.published else None,
        selection_section(records),
        intervals_section(scored),
        comparisons_section(tables, choices.margin, choices.pair),
        single_runs_section(tables),
        claims_section(verdicts) if choices.claims or testable else None,
        search_section(search_results(records, found)),
        calibration_section(found),
        ensembles_section(found),
        overlap_section(found),
        patience_section(records, found),
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
    return Report(
        title=title,
        tables=tables,
        figures=figures,
        sections=kept(one for one in sections if one is not None),
        over_datasets=[one for _, one in over_datasets],
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
    for table in report.tables:
        write(table, out / "tables")
    for one in report.over_datasets:
        if one.compared is not None:
            path = out / "tables" / f"across-{one.metric.replace('_', '-')}.csv"
            path.write_text(one.frame.to_csv(index=False), encoding="utf-8")
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
