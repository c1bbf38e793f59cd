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
    """Return the section on ``maps`` of the cells ``found``; empty where no method was trained at several rates.

    Raises DamagedRecord where stored predictions can't be read.
    """
    if not maps:
        return Section("Learning rates", (), "learning-rates")
    blocks: list[Block] = [Paragraph(HOW), _ranges(maps), _on_test(maps)]
    pairs = pairs_of(maps, found)
    if pairs:
        blocks.append(_decided(pairs))
    return Section("Learning rates", tuple(blocks), "learning-rates")


def _ranges(maps: Sequence[RateMap]) -> Grid:
    """Return the best rate on validation and the range around it, for each of ``maps``."""
    rows: list[tuple[Inline, ...]] = []
    for one in maps:
        low, high = one.within or (None, None)
        ends = ("", "", "") if low is None or high is None else (rounded(low), rounded(high), f"{high / low:.3g}")
        edge = " (edge of the grid)" if one.at_the_edge else ""
        rows.append(
            (
                _name(one.chosen),
                f"{len(one.cells)}: {rounded(one.rates[0])} to {rounded(one.rates[-1])}",
                UNKNOWN if one.default is None else rounded(rate_of(one.default)),
                _on_validation(one.default, one),
                f"{rounded(rate_of(one.chosen))}{edge}",
                _on_validation(one.chosen, one),
                *ends,
            )
        )
    head = ("trained", "rates", "default", "score there", "best", "score there", "range from", "to", "factor")
    name, unit, _ = _metric(maps)
    return Grid(head, tuple(rows), f"Rates by {name} on validation{unit}, mean ± sample standard deviation over seeds.")


def _on_test(maps: Sequence[RateMap]) -> Grid:
    """Return the scores of each of ``maps`` at its default rate and at its best."""
    rows: list[tuple[Inline, ...]] = []
    for one in maps:
        change = "the default is the best" if one.default == one.chosen else difference_text(against_default(one))
        rows.append((_name(one.chosen), _test(one.default, one), _test(one.chosen, one), change))
    head = ("trained", "at its default rate", "at its best rate on validation", "best less default")
    name, unit, points = _metric(maps)
    caption = (
        f"The same by {name} on test{unit}, mean ± sample standard deviation over seeds. The difference{points} has "
        "its 95 % interval and an uncorrected p, but no verdict."
    )
    return Grid(head, tuple(rows), caption)


UNKNOWN = "not in the grid, or not known"
"""The text in place of a score at a default rate that the grid does not hold."""


def _metric(maps: Sequence[RateMap]) -> tuple[str, str, str]:
    """Return the name of the metric by which ``maps`` are judged, and the units of scores and of differences."""
    name = metric_label(metric_of(maps[0]), [one.chosen for one in maps])
    shares = all(one.chosen.measure(metric_of(one)).unit == "%" for one in maps)
    return (name, " in percent", " in points") if shares else (name, "", "")


def _on_validation(cell: Cell | None, one: RateMap) -> str:
    """Return the validation score of ``cell``; empty where there is none."""
    sample = None if cell is None else validation(cell, metric_of(one))
    return "" if cell is None or sample is None else shown(sample, cell.measure(metric_of(one)))


def _test(cell: Cell | None, one: RateMap) -> Inline:
    """Return the test score of ``cell`` as a link to its trials; empty where test was not scored."""
    if cell is None:
        return UNKNOWN
    sample = cell.sample(metric_of(one)) if cell.split == "test" else None
    return "" if sample is None else Link(shown(sample, cell.measure(metric_of(one))), f"#{cell.anchor}")


def _decided(pairs: Sequence[Pair]) -> Grid:
    """Return the difference of each pair of methods at their default rates and at their own rates."""
    rows: list[tuple[Inline, ...]] = []
    for pair in pairs:
        first, second = pair.first.chosen, pair.second.chosen
        rows.append(
            (
                f"{first.model_name} · {first.dataset_name}",
                f"{first.method_name} less {second.method_name}",
                "a default is not in the grid" if pair.at_default is None else difference_text(pair.at_default),
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
