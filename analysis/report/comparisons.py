"""Every pair of rows of a table by its test; each row against the best on these test items too; the seeds needed."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analysis.cell_predictions import predictions_of
from analysis.compare import Comparison, Score
from analysis.names import estimate_text
from analysis.pairs import Pair, every_pair
from analysis.report.document import Block, Grid, Paragraph, Points, Section
from analysis.statistics.multiple import STEP_DOWN, pairs
from analysis.statistics.permutation import Paired, least_sign_flip_p, least_split_p, paired, permutation_p
from analysis.statistics.power import ALPHA, detectable_difference, hours_for, seeds_phrase, seeds_range, smallest_gap
from analysis.statistics.this_set import Difference, Interval, McNemar, mcnemar, welch
from analysis.tables.table import Table
from tunekit.parsing import how_many
from tunekit.store.records import DamagedRecord
from tunekit.tasks import Metric


@dataclass(frozen=True)
class RowComparison:
    """A row minus the best row of its column."""

    column: str
    row: str
    best: str
    versus: Comparison
    """The comparison that the table's marks show."""
    this_set: Difference | None
    """The comparison on these test items: seeds vary and items stay; None where it can't be made."""
    permutation: float | None
    """The exact unpaired permutation p on these test items, which assumes equal spread."""
    detectable: float | None
    """The difference that is found with a chance of 80 % at this n, by the table's test and its correction."""
    smallest: float | None
    """The difference below which no number of seeds gives a chance of 80 %; None for a test on these test items."""
    needed: str
    """The number of seeds a row that would find a difference of this size, as text."""
    by_seed: Paired | None
    """The comparison seed by seed, for rows that share their initialisation."""
    equivalence: float | None
    """The p of two one-sided tests against the margin that was asked for, by which rows are called equal."""


def against_best(table: Table, margin: float | None = None) -> list[RowComparison]:
    """Return one comparison for each row of each column that was compared with the best; ``margin`` in [0, 1].

    Raises UserError for a margin that is not above 0, and DamagedRecord where stored predictions can't be read.
    """
    alpha = _first_step(table)
    found = []
    for column, number in table.best.items():
        best = table.entries[number, column].score
        for row, spec in enumerate(table.spec.rows):
            entry = table.entries.get((row, column))
            if entry is None or entry.versus is None:
                continue
            found.append(
                _compared(
                    (table.spec.columns[column], spec.label, table.spec.rows[number].label),
                    *(entry.versus, entry.score, best, alpha, margin),
                )
            )
    return found


def _first_step(table: Table) -> float:
    """Return the level of the first step of the table's correction, by which a single comparison is planned."""
    tested = [column for (_, column), entry in table.entries.items() if entry.versus and entry.versus.tested]
    return ALPHA / max(1, pairs([tested.count(column) + 1 for column in table.best]))


def _compared(
    names: tuple[str, str, str], versus: Comparison, a: Score, b: Score, alpha: float, margin: float | None
) -> RowComparison:
    here = welch(a.sample, b.sample) if a.sample and b.sample and not (a.untestable or b.untestable) else None
    values = (a.sample.values, b.sample.values) if a.sample and b.sample else ((), ())
    estimate = versus.estimate
    spread = estimate.spread if estimate and not estimate.spread.is_zero else None
    return RowComparison(
        *names,
        versus=versus,
        this_set=here,
        permutation=permutation_p(*values) if here and all(values) else None,
        detectable=detectable_difference(spread, min(versus.n), alpha=alpha) if spread else None,
        smallest=smallest_gap(spread, alpha=alpha) if spread and spread.items else None,
        needed=(_needed(a, b, estimate, alpha) if spread else UNPLANNED) if estimate else "",
        by_seed=_paired(a, b) if versus.tested else None,
        equivalence=estimate.equivalence(margin) if estimate and margin is not None else None,
    )


def _needed(a: Score, b: Score, estimate: Difference, alpha: float) -> str:
    """Return the seeds a row for a gap of this size, and the hours that they take where the trials' times are known."""
    bounds = seeds_range(estimate.spread, abs(estimate.difference), alpha=alpha)
    if bounds == (None, None) and estimate.spread.items:
        return NEVER
    seconds = [score.cell.sample("train_seconds") if score.cell else None for score in (a, b)]
    times = [sample.mean for sample in seconds if sample]
    hours = [f"{hours_for(count, sum(times)):,.1f}" for count in bounds if count is not None]
    if len(times) < 2 or not hours:
        return seeds_phrase(bounds)
    return f"{seeds_phrase(bounds)} ({' to '.join(dict.fromkeys(hours))} h)"


def _paired(a: Score, b: Score) -> Paired | None:
    if a.cell is None or b.cell is None or a.cell.model != b.cell.model:
        return None
    return paired(a.cell.by_seed(a.metric), b.cell.by_seed(b.metric))


def comparisons_section(tables: Sequence[Table], margin: float | None = None, pair: bool = False) -> Section:
    """Return the grids of comparisons for each score table that has any; differences in points, ``margin`` in [0, 1].

    ``pair`` adds the paired tests of rows that share their initialisation.
    """
    parts = []
    for table in tables:
        found = against_best(table, margin)
        if not found:
            continue
        in_points = all(one.versus.measure.unit == "%" for one in found)
        blocks: list[Block] = _every_pair(every_pair(table))
        blocks += [_grid(HERE, found, _here), _grid(PLANNING, found, _planning), *_floors(found)]
        if margin is not None and in_points:
            head = f"p of equal within {100 * margin:g}, uncorrected"
            blocks.append(_grid((head,), found, lambda one: (_p(one.equivalence),)))
        if pair:
            blocks.append(_grid(PAIRED, found, _pairs))
        parts.append(Section(table.spec.caption, tuple(blocks), f"comparisons-{table.spec.stem}"))
    about = (PAIRS_ABOUT, HERE_ABOUT, PLANNING_ABOUT, *((PAIRED_ABOUT,) if pair else ()))
    how = tuple(map(Paragraph, about)) if parts else ()
    return Section("Every pair of rows, and each row against the best", how, "comparisons", tuple(parts))


def single_runs_section(tables: Sequence[Table]) -> Section:
    """Return McNemar's test of each row of one run against a best row of one run, where both keep predictions."""
    rows = []
    for table in tables:
        if table.spec.metric != "accuracy":
            continue
        for column, heading in table.spec.columns.items():
            entries = [(table.spec.rows[n].label, e) for (n, name), e in table.entries.items() if name == column]
            best = next(((label, e) for label, e in entries if e.bold), None)
            for label, entry in entries:
                if best is None or entry.bold:
                    continue
                compared = _one_against_one(entry.score, best[1].score)
                if compared is not None:
                    rows.append((heading, label, best[0], str(compared.b), str(compared.c), _p(compared.p)))
    about = Paragraph(
        "McNemar's exact test of one run against one other, on these test items. It says nothing of other seeds, and "
        "so nothing of the methods."
    )
    head = ("column", "row", "best", "only the row right", "only the best right", "p, uncorrected")
    return Section("One run against one run", (about, Grid(head, tuple(rows))) if rows else (), "single-runs")


def _one_against_one(a: Score, b: Score) -> McNemar | None:
    """Return McNemar's test, or None unless each has one run, with predictions on the same items."""
    if a.cell is None or b.cell is None or len(a.cell.completed) != 1 or len(b.cell.completed) != 1:
        return None
    try:
        one, other = predictions_of(a.cell), predictions_of(b.cell)
    except DamagedRecord:
        raise
    except ValueError:
        return None  # there are no predictions, which other sections say
    if one.items != other.items:
        return None
    return mcnemar(one.predictions.gold, one.predictions.predicted[0], other.predictions.predicted[0])


PAIRS_ABOUT = (
    "First every pair of rows, a row minus the best or one with a better mean. It is compared for new texts from the "
    "same source, where seeds and test items vary, if both rows keep predictions; else for these test items alone. For "
    "new texts two tests are made, a crossed one over seeds and items and Welch's t over seeds; the larger p is "
    "reported, with the name of the test that gave it, and so is the wider interval. Differences are in points, or in "
    "the metric's own unit where that is not percent, with 95 % intervals, which are not corrected. The corrected p is "
    f"that of the table's marks and of the main result, a {STEP_DOWN}: smallest p first, each p of a row against the "
    "best is multiplied by the number of pairs of rows, over all columns, that can still be formed without the rows "
    "that came before (a sequentially rejective test, Goeman and Solari 2010). A table asks which rows are worse than "
    "the best, so that pairs without the best have no corrected p and no verdict: to call one of them significant, "
    "name it in a claims file (--claims), which corrects over its claims."
)
HERE_ABOUT = (
    "Then each row minus the best on these test items: only seeds vary (Welch's t). The permutation p compares all "
    "splits of the seeds, and takes both rows as equally spread. Few seeds have few splits, so that no difference has "
    f"a smaller p than {least_split_p(3, 3):.3g} at 3 and 3 seeds, {least_split_p(4, 4):.3g} at 4 and 4, and "
    f"{least_split_p(5, 5):.3g} at 5 and 5. Neither p is corrected: the verdicts are those of the first table."
)
WITHOUT_BEST = "without the best: not tested in the table"
NEVER, UNPLANNED = "not reached", "not known"
PLANNING_ABOUT = (
    "Planning, for a power of 80 % with the test of the table: a difference is detectable if 80 % of studies would "
    "find it. The detectable difference is that of this number of seeds, and beside it stands that of unlimited seeds "
    "on as many test items. Seeds needed is the number of seeds per row that detects a difference of the observed "
    "size, over the 80 % interval of the standard deviation, with the hours that the trials of both rows take one "
    f"after the other; it is '{NEVER}' where no number of seeds gives a power of 80 %, and '{UNPLANNED}' where neither "
    "seeds nor test items were found to vary. The level is 5 % divided by the number of pairs of rows, as in the first "
    "step of the table's correction."
)
PAIRED_ABOUT = (
    "Paired: rows that share their initialisation, seed by seed, by a paired t. The sign-flip p compares all signs of "
    f"the differences, 2^n for n seeds, so that no difference has a smaller p than {least_sign_flip_p(5):.3g} at 5 "
    "seeds. Neither p is corrected."
)

PAIRS = ("column", "row", "minus", "difference", "holds for", "test", "p, uncorrected", "p, corrected as the marks")
HERE = ("difference on these test items", "p, uncorrected", "permutation p, uncorrected")
PLANNING = ("observed difference", "detectable difference", "detectable with unlimited seeds", "seeds needed (hours)")
PAIRED = ("paired difference", "n", "p, uncorrected", "sign-flip p, uncorrected", "correlation")


def _every_pair(found: Sequence[Pair]) -> list[Block]:
    """Return the grid of the pairs that were tested, and how many were not, by reason."""
    rows = []
    for one in found:
        compared = one.comparison
        if compared.estimate is None:
            continue
        difference = _points(compared.estimate.difference, compared.estimate.interval, compared.measure)
        p_values = (_p(compared.p), _p(compared.p_corrected) or WITHOUT_BEST)
        rows.append((one.column, one.row, one.minus, difference, compared.population.value, compared.test, *p_values))
    left = Counter(one.comparison.reason for one in found if one.comparison.estimate is None)
    points = tuple(f"{how_many(count, 'pair')} not tested: {reason}." for reason, count in left.items())
    return [*([Grid(PAIRS, tuple(rows))] if rows else []), *([Points(points)] if points else [])]


def _grid(
    head: tuple[str, ...], found: Sequence[RowComparison], texts: Callable[[RowComparison], tuple[str, ...]]
) -> Grid:
    rows = tuple((one.column, one.row, one.best, *texts(one)) for one in found)
    return Grid(("column", "row", "best", *head), rows)


def _floors(found: Sequence[RowComparison]) -> list[Block]:
    """Return a sentence for each column whose test items limit the power that any number of seeds gives."""
    lines = []
    for column in dict.fromkeys(one.column for one in found):
        limits = [
            (one.smallest, one.versus.estimate.spread)
            for one in found
            if one.column == column and one.smallest and one.versus.estimate
        ]
        if limits:
            measure = next(one.versus.measure for one in found if one.column == column)
            low, high = (measure.number(pick(gap for gap, _ in limits)) for pick in (min, max))
            unit = " points" if measure.unit == "%" else ""
            points = f"{low}{unit}" if low == high else f"{low} to {high}{unit} (depending on the row)"
            spread = limits[0][1]
            grouped = f" in {spread.groups:,} groups" if spread.groups < spread.items else ""
            lines.append(
                f"{column}: on {spread.items:,} test items{grouped}, a true difference below {points} is found in "
                "fewer than 80 % of studies, however many seeds each of them trains."
            )
    return [Points(tuple(lines))] if lines else []


def _here(one: RowComparison) -> tuple[str, ...]:
    here = one.this_set
    if here is None:
        return "not tested", "", ""
    difference = _points(here.difference, here.interval, one.versus.measure)
    return difference, _p(here.p), _of_arrangements(one.permutation, least_split_p(*one.versus.n))


def _planning(one: RowComparison) -> tuple[str, ...]:
    number = one.versus.measure.number
    difference = "" if one.versus.difference is None else number(one.versus.difference, "+")
    limits = ("" if gap is None else number(gap) for gap in (one.detectable, one.smallest))
    return difference, *limits, one.needed


def _pairs(one: RowComparison) -> tuple[str, ...]:
    found = one.by_seed
    if found is None:
        return "not paired", "", "", "", ""
    correlation = "" if found.correlation is None else f"{found.correlation:.2f}"
    difference = _points(found.difference, found.interval, one.versus.measure)
    sign_flip = _of_arrangements(found.sign_flip_p, least_sign_flip_p(found.n))
    return difference, str(found.n), _p(found.p), sign_flip, correlation


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _points(value: float, interval: Interval, measure: Metric) -> str:
    return estimate_text(measure, value, interval.low, interval.high, "+")


def _of_arrangements(p: float | None, least: float) -> str:
    """Return the p of a permutation test as text, which says where it is the ``least`` that so few seeds allow."""
    if p is None:
        return ""
    return f"{_p(p)}, the smallest that so few seeds allow" if math.isclose(p, least) else _p(p)
