"""The report's part on rows over several datasets: mean ranks, win rates and interquartile means."""

import math
from collections.abc import Sequence

from analysis.across import Across
from analysis.names import bounds_text, metric_name
from analysis.report.document import Block, Grid, Paragraph, Points, Section
from analysis.statistics.across_datasets import Estimate
from analysis.statistics.this_set import Interval
from analysis.tables.latex import latex_texts


def across_section(found: Sequence[tuple[str, Across]]) -> Section:
    """Return the comparisons over datasets, one part for each metric of ``found``, which also gives its name.

    Where rows are compared by no metric, the section says why, once. It is empty for a single dataset.
    """
    several = [(name, one) for name, one in found if len(one.datasets) > 1]
    title, anchor = "Rows over several datasets", "across"
    if not any(one.compared for _, one in several):
        reasons = tuple(dict.fromkeys(note for _, one in several for note in one.notes))
        return Section(title, (Points(reasons),) if reasons else (), anchor)
    parts = tuple(Section(f"By {name}", _blocks(one), across_stem(one)) for name, one in several)
    return Section(title, (Paragraph(HOW),), anchor, parts)


def across_latex(one: Across) -> str:
    """Return the comparison, which must have been made, as a LaTeX table with the report's sentences below it."""
    caption = f"Rows over {len(one.datasets)} datasets by {metric_name(one.metric)}."
    grid = _grid(one)
    rows = [[item if isinstance(item, str) else item.text for item in row] for row in grid.rows]
    return latex_texts(grid.head, rows, caption, across_stem(one), (_verdict(one), HOW, *one.notes))


def across_stem(one: Across) -> str:
    """Return the name, without suffix, of the files of a comparison, which is its anchor in the report too."""
    return f"across-{one.metric.replace('_', '-')}"


HOW = (
    "Mean rank: rank 1 is the best mean on a dataset, ties share their mean rank (Demsar 2006). Win rate: the chance "
    "that a run of the row scores above a run of another row on the same dataset. Interquartile mean: the mean of the "
    "middle half of the row's scores, which are rescaled so that the majority class has 0 and the best mean of the "
    "dataset has 1 (Agarwal et al. 2021). An interval in brackets is the 95 % interval over new datasets of the same "
    "kind and new seeds; each dataset counts as one observation. There is none where the value does not vary between "
    "the datasets. With 3 to 5 datasets the intervals of win rates and interquartile means are too narrow where rows "
    "lie apart: in simulations with rows 2 points apart they held the true value in 88 to 90 % of studies instead "
    "of 95. The last column keeps the datasets and varies seeds alone."
)


def _blocks(one: Across) -> tuple[Block, ...]:
    notes = (Points(one.notes),) if one.notes else ()
    return notes if one.compared is None else (Paragraph(_verdict(one)), _grid(one), *notes)


def _grid(one: Across) -> Grid:
    found = one.compared
    assert found is not None  # the caller has looked
    order = sorted(range(len(one.rows)), key=lambda row: found.mean_ranks[row].value)
    rows = []
    for row in order:
        iqm = found.iqms[row] if found.iqms else None
        over_seeds = found.iqms_over_seeds[row] if found.iqms_over_seeds else None
        texts = (_text(found.mean_ranks[row]), _text(found.win_rates[row]), _text(iqm), _bounds(over_seeds))
        rows.append((one.rows[row], *texts))
    head = ("row", "mean rank", "win rate", "interquartile mean", "interquartile mean, new seeds only")
    return Grid(head, tuple(rows))


def _verdict(one: Across) -> str:
    """Return the results of Friedman's and Nemenyi's tests in sentences."""
    found = one.compared
    assert found is not None  # the caller has looked
    over = f"{len(one.rows)} rows over {len(one.datasets)} datasets ({', '.join(one.datasets)})"
    least = ", the smallest p that so few rows and datasets allow" if math.isclose(found.p, found.smallest_p) else ""
    test = f"Friedman's test by permutation, p = {found.p:.3g}{least}"
    if found.smallest_p > 0.05:
        return (
            f"No test can separate {over} at 5 %: the smallest p that Friedman's test can reach with so few is "
            f"{found.smallest_p:.3g}."
        )
    if found.p > 0.05:
        return f"The ranks of {over} do not differ significantly (5 %; {test})."
    pairs = [
        f"{one.rows[better]} and {one.rows[worse]}"
        for better, first in enumerate(found.mean_ranks)
        for worse, second in enumerate(found.mean_ranks)
        if second.value - first.value >= found.critical_difference
    ]
    separated = f"separates {'; '.join(pairs)}" if pairs else "separates no two rows"
    return (
        f"The ranks of {over} differ at 5 % ({test}). Nemenyi's test, with a critical difference of "
        f"{found.critical_difference:.2f}, {separated}."
    )


def _text(one: Estimate | None) -> str:
    if one is None:
        return ""
    return f"{one.value:.2f} {_bounds(one.interval)}" if one.interval else f"{one.value:.2f}"


def _bounds(interval: Interval | None) -> str:
    return "" if interval is None else bounds_text(interval.low, interval.high)
