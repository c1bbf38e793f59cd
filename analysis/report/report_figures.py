"""All figures of a report; this is the one module of ``analysis.report`` that loads matplotlib."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.across import Across
from analysis.cells import Cell
from analysis.figures.captioned import CaptionedFigure
from analysis.figures.critical_difference import critical_difference_figure
from analysis.figures.figures import figures_of
from analysis.figures.forest import Difference, forest_figure
from analysis.report.answer import metric_of, ranked_columns
from analysis.sweep_records import SweepRecords
from analysis.tables.table import Standing, Table


def report_figures(
    records: SweepRecords,
    found: Sequence[Cell],
    answering: Sequence[Table],
    over_datasets: Sequence[tuple[str, Across]],
    formats: Sequence[str],
) -> list[CaptionedFigure]:
    """Return the figures of the cells ``found``, of the differences in the tables ``answering``, and over datasets.

    ``formats`` are those of their files. Raises DamagedRecord and UserError as ``figures_of``.
    """
    compared = [*map(differences_figure, answering)]
    compared += [critical_difference_figure(one, name, one.metric) for name, one in over_datasets]
    linked = next(suffix for suffix in ("svg", "png", "pdf") if suffix in formats)
    drawn = [*figures_of(records, found), *(one for one in compared if one)]
    return [replace(one, linked=linked) for one in drawn]


def differences_figure(table: Table) -> CaptionedFigure | None:
    """Return the forest plot of a table: each row minus the best of its column, with its 95 % interval.

    Returns None where no row was tested against another.
    """
    groups = []
    populations = set()
    for column, shown in ranked_columns(table):
        best = table.spec.rows[table.best[column]].label
        differences = []
        for label, entry in shown:
            one = entry.versus
            if one is None or one.difference is None:
                continue
            if one.tested:
                populations.add(one.population)
            bounds = None if one.low is None or one.high is None else (one.low, one.high)
            worse = None if entry.standing is Standing.NOT_TESTED else entry.standing is Standing.WORSE
            differences.append(Difference(label, one.difference, bounds, worse))
        if differences:
            groups.append((f"{table.spec.columns[column]}, minus {best}", differences))
    if not populations:
        return None
    where = " or ".join(f"on {one.value}" for one in sorted(populations))
    measure = next(entry.score.measure for entry in table.entries.values())
    return forest_figure(groups, metric_of(table), where, table.spec.stem, measure)
