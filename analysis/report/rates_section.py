"""The report's part on a grid's learning rates: the default, the best on validation, the range around it, verdicts."""

from collections.abc import Sequence

from analysis.cells import Cell, metric_label
from analysis.configurations import validation
from analysis.names import rounded
from analysis.rates import Pair, RateMap, against_default, metric_of, pairs_of, rate_of
from analysis.report.document import Block, Grid, Inline, Link, Paragraph, Section
from analysis.tables.table import difference_text, shown

HOW = (
    "The learning rate of each method was varied. Validation chooses, by the best mean over seeds at the epoch whose "
    "scores count; test is not looked at for the choice. The range holds the rates around the best, without a gap, "
    "whose mean on validation is at most one standard error over seeds (std / sqrt(n)) worse than the best mean. Its "
    "factor is its upper end over its lower end. Rates between those of the grid were not tried."
)


def rates_section(maps: Sequence[RateMap], found: Sequence[Cell]) -> Section:
    """Return everything on ``maps``, of the cells ``found``; empty where no method was trained at several rates.

    Raises DamagedRecord where stored predictions can't be read.
    """
    if not maps:
        return Section("Learning rates", (), "learning-rates")
    blocks: list[Block] = [Paragraph(HOW), _ranges(maps)]
    pairs = pairs_of(maps, found)
    if pairs:
        blocks.append(_decided(pairs))
    return Section("Learning rates", tuple(blocks), "learning-rates")


def _ranges(maps: Sequence[RateMap]) -> Grid:
    rows: list[tuple[Inline, ...]] = []
    for one in maps:
        low, high = one.within or (None, None)
        ends = ("", "", "") if low is None or high is None else (rounded(low), rounded(high), f"{high / low:.3g}")
        edge = " (edge of the grid)" if one.at_the_edge else ""
        change = "is the best" if one.default == one.chosen else difference_text(against_default(one))
        rows.append(
            (
                _name(one.chosen),
                f"{len(one.cells)}: {rounded(one.rates[0])} to {rounded(one.rates[-1])}",
                "not in the grid, or not known" if one.default is None else rounded(rate_of(one.default)),
                *_scores(one.default, one),
                f"{rounded(rate_of(one.chosen))}{edge}",
                *_scores(one.chosen, one),
                *ends,
                change,
            )
        )
    head = (
        "trained", "rates", "default", "validation", "test", "best on validation", "validation", "test", "from", "to",
        "factor", "test, best less default",
    )  # fmt: skip
    name, unit, points = _metric(maps)
    caption = (
        f"Learning rates. {name}{unit}, mean ± sample standard deviation over seeds; differences{points} with "
        "their 95 % interval and uncorrected p."
    )
    return Grid(head, tuple(rows), caption)


def _metric(maps: Sequence[RateMap]) -> tuple[str, str, str]:
    """Return the name of the metric by which ``maps`` are judged, and the units of scores and of differences."""
    name = metric_label(metric_of(maps[0]), [one.chosen for one in maps])
    shares = all(one.chosen.measure(metric_of(one)).unit == "%" for one in maps)
    return (name, " in percent", " in points") if shares else (name, "", "")


def _scores(cell: Cell | None, one: RateMap) -> tuple[Inline, Inline]:
    """Return validation and test of ``cell``; test is empty where it was not scored."""
    if cell is None:
        return "", ""
    measure = cell.measure(metric_of(one))
    on_validation = validation(cell, metric_of(one))
    on_test = cell.sample(metric_of(one)) if cell.split == "test" else None
    test: Inline = "" if on_test is None else Link(shown(on_test, measure), f"#{cell.anchor}")
    return "" if on_validation is None else shown(on_validation, measure), test


def _decided(pairs: Sequence[Pair]) -> Grid:
    """Return what each pair of methods decides at default rates and at own rates."""
    rows: list[tuple[Inline, ...]] = []
    for pair in pairs:
        first, second = pair.first.chosen, pair.second.chosen
        rows.append(
            (
                f"{first.model_name} · {first.dataset_name}",
                f"{first.method_name} less {second.method_name}",
                "a default is not in the grid"
                if pair.at_default is None
                else difference_text(pair.at_default),
                difference_text(pair.at_own),
            )
        )
    head = ("trained", "methods", "both at their default rates", "each at its own rate")
    name, _, points = _metric([pair.first for pair in pairs])
    caption = (
        f"What the choice of rates decides, by {name} on test: differences{points} with their 95 % interval. The last "
        "column asks what the score table by this metric asks, and has its corrected p. The column before it asks the "
        "same at default rates, which is another question: its p is corrected in the same way over a table of the "
        "methods at these rates. A table asks which rows are worse than the best, so that a pair without the best row "
        "has an uncorrected p and no verdict. That the rates were chosen on the same runs is not in p."
    )
    return Grid(head, tuple(rows), caption)


def _name(cell: Cell) -> str:
    return " · ".join([cell.model_name, cell.method_name, cell.dataset_name])
