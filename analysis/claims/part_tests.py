"""The test of one part of a claim: one statement about two rows, on one dataset, in one metric."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from analysis.claims.grammar import OFF_ITEMS, Part, Relation
from analysis.claims.measured import Lookup, Measured
from analysis.claims.row import ClaimRow
from analysis.claims.std_tests import ENDLESS, seeds_for_stds, std_p, stds_of
from analysis.compare import SEEDS_DO_NOT_MOVE, Population, Score, compare
from analysis.statistics.power import seeds_range
from analysis.statistics.this_set import MIN_SEEDS, Interval, PValue, Sample, Spread


class Verdict(StrEnum):
    """The verdict that the numbers give on a claim or on a part of it."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided at this n"
    NOT_TESTABLE = "not testable"


@dataclass(frozen=True)
class Tested:
    """The test of a part; a minus b in the metric's unit, b scaled by the part's factor."""

    a: Sample
    b: Sample
    difference: float
    """The difference of the means, or of the standard deviations where the statement is about standard deviations."""
    interval: Interval | None
    """The interval of the difference of means; None for standard deviations, and for what is not tested."""
    supporting: PValue
    """The one-sided p for the statement, and the test that gave it."""
    opposing: PValue
    """The one-sided p for the opposite of the statement, and the test that gave it."""
    population: Population
    spread: Spread | None = None
    """The parts of the variance of the difference of means; None where there is no interval."""
    why_not_new_text: str = ""
    """The reason why scores on items are not compared for new texts; empty where they are."""

    @property
    def p(self) -> float:
        """The one-sided p for the statement."""
        return self.supporting.p

    @property
    def p_against(self) -> float:
        """The one-sided p for the opposite of the statement."""
        return self.opposing.p


@dataclass(frozen=True)
class PartResult:
    """A part and its own verdict, uncorrected for the other parts and claims."""

    part: Part
    verdict: Verdict
    tested: Tested | None
    a: Measured
    """The numbers of the first row that were used: its configuration, split and runs."""
    b: Measured
    """The numbers of the second row that were used."""
    missing: tuple[ClaimRow, ...] = ()
    """The rows that have no value."""
    reason: str = ""
    """The reason why the rows that have values can't be tested; empty where they can."""

    @property
    def p(self) -> float:
        """The one-sided p for the statement; 1 where it was not tested."""
        return self.tested.p if self.tested else 1.0

    @property
    def p_against(self) -> float:
        """The one-sided p for the opposite; 1 where it was not tested."""
        return self.tested.p_against if self.tested else 1.0

    def points(self, holds: bool) -> bool:
        """Return whether the estimate lies on the side where the statement holds, or, if ``holds`` is False, does not.

        It is False for both where the part was not tested or lies on neither side.
        """
        if self.tested is None:
            return False
        if self.part.relation is Relation.WITHIN:
            return (abs(self.tested.difference) < self.part.margin) is holds
        return self.p < self.p_against if holds else self.p_against < self.p


def check(part: Part, lookup: Lookup, alpha: float, new_text: bool = True) -> PartResult:
    """Return the test of a part on the numbers that ``lookup`` gives for its rows, or what is missing.

    Means are tested by ``analysis.compare``, one-sided: scores for new texts (seeds and items vary) where predictions
    are stored and ``new_text`` is not False. "within" is two one-sided tests; its opposite is that either bound is
    crossed (twice the smaller p). Standard deviations are tested by ``std_p``. What seeds don't move is compared run by
    run: it is supported where every run holds, contradicted where none does.
    """
    a, b = (lookup(row, part.dataset, part.metric) for row in (part.a, part.b))
    missing = tuple(row for row, own in ((part.a, a), (part.b, b)) if own.sample is None and not own.reason)
    reasons = [own.reason for own in (a, b) if own.reason]
    if a.sample is None or b.sample is None or reasons:
        return PartResult(part, Verdict.NOT_TESTABLE, None, a, b, missing, "; ".join(dict.fromkeys(reasons)))
    if reason := _problem(part, a, b) or _too_little(part, a.sample, b.sample):
        return PartResult(part, Verdict.NOT_TESTABLE, None, a, b, reason=reason)
    if part.metric in SEEDS_DO_NOT_MOVE:
        tested = _compare(part, a, b)
    elif part.relation.of_stds:
        tested = _test_stds(part, a.sample, b.sample)
    else:
        found = _test_means(part, a, b, new_text)
        if isinstance(found, str):
            reason = f"{part.statement} on {part.dataset} ({part.metric}): {found}"
            return PartResult(part, Verdict.NOT_TESTABLE, None, a, b, reason=reason)
        tested = found
    return PartResult(part, verdict_of(tested.p, tested.p_against, alpha), tested, a, b)


def verdict_of(p: float, p_against: float, alpha: float) -> Verdict:
    """Return the verdict of two one-sided p at level ``alpha``."""
    if p <= alpha:
        return Verdict.SUPPORTED
    return Verdict.CONTRADICTED if p_against <= alpha else Verdict.UNDECIDED


def seeds_needed(result: PartResult, level: float, holds: bool) -> tuple[int, int]:
    """Return the fewest and most seeds a row that bring the one-sided p for (or against) the part to ``level``.

    They are planned with power 0.8, as if the true difference were the estimated one. They are ``ENDLESS`` where the
    estimate points to the other side. For standard deviations they are those for normal scores.
    """
    tested = result.tested
    if tested is None or tested.population is Population.COMPARED or not result.points(holds):
        return ENDLESS, ENDLESS
    a, b = tested.a, tested.b
    if (tested.p if holds else tested.p_against) <= level:
        return max(a.n, b.n), max(a.n, b.n)
    if result.part.relation.of_stds:
        seeds = seeds_for_stds(min(stds_of(a, b)) / max(stds_of(a, b)), level)
        return seeds, seeds
    assert tested.spread is not None
    planned = seeds_range(tested.spread, abs(result.part.margin - abs(tested.difference)), alpha=2 * level)
    low, high = (ENDLESS if bound is None else bound for bound in planned)
    return low, high


def _problem(part: Part, a: Measured, b: Measured) -> str | None:
    """Return the reason why two rows can't be compared at all, or None."""
    if a.cell is not None and a.cell is b.cell:
        return f"{part.a} and {part.b} are one configuration on {part.dataset}"
    if part.metric not in OFF_ITEMS and a.split != b.split:
        return f"on {part.dataset} {part.a} was scored on {a.split}, {part.b} on {b.split}"
    if part.metric in SEEDS_DO_NOT_MOVE and part.relation.of_stds:
        return f"seeds do not move {part.metric}, so it has no standard deviation to compare"
    return None


def _too_little(part: Part, a: Sample, b: Sample) -> str | None:
    """Return the reason why a sample can't be tested, or None; a comparison without a test takes one run."""
    if part.metric in SEEDS_DO_NOT_MOVE:
        return None
    for row, sample in ((part.a, a), (part.b, b)):
        where = f"{row} on {part.dataset} ({part.metric})"
        if sample.n < MIN_SEEDS:
            return f"{where} has n = {sample.n}, and a test needs {MIN_SEEDS}"
        if sample.std is None:
            return f"{where} has no standard deviation"
        if part.relation.of_stds and math.isclose(sample.mean + sample.std, sample.mean, rel_tol=1e-12):
            return f"{where} does not vary over seeds"
    return None


def _scaled(sample: Sample, factor: float) -> Sample:
    std = None if sample.std is None else factor * sample.std
    return Sample(factor * sample.mean, std, sample.n, tuple(factor * value for value in sample.values))


def _compare(part: Part, a: Measured, b: Measured) -> Tested:
    """Return whether the statement holds in every run, in some or in none, as p of 0 or 1.

    Runs of one name (a seed, a workload) are compared with each other, and where the names differ, each with each.
    Where only means are known, they are compared in place of the runs.
    """
    assert a.sample
    assert b.sample
    of_a, of_b = (own.runs or {"mean": own.sample.mean} for own in (a, b) if own.sample)
    same = of_a.keys() == of_b.keys()
    pairs = [(of_a[name], of_b[name]) for name in of_a] if same else list(product(of_a.values(), of_b.values()))
    sign = 1 if part.relation is Relation.ABOVE else -1
    held = [sign * (first - part.factor * second) > 0 for first, second in pairs]
    scaled = _scaled(b.sample, part.factor)
    p, p_against = (0.0, 1.0) if all(held) else (1.0, 1.0) if any(held) else (1.0, 0.0)
    kind = a.kind if same else f"pairs of {a.kind}"
    test = f"compared, not tested: {_shares(part, pairs)}the statement holds in {sum(held)} of {len(held)} {kind}"
    found = PValue(p, test), PValue(p_against, test)
    return Tested(a.sample, scaled, a.sample.mean - scaled.mean, None, *found, Population.COMPARED)


def _shares(part: Part, pairs: Sequence[tuple[float, float]]) -> str:
    """Return the shares of b's values that a has, as the beginning of a sentence; empty where a value of b is 0."""
    if not all(second for _, second in pairs):
        return ""
    shares = sorted(first / second for first, second in pairs)
    bounds = " to ".join(dict.fromkeys(f"{share:.3g}" for share in (shares[0], shares[-1])))
    return f"{part.a} has {bounds} of the value of {part.b}, so that "


def _test_means(part: Part, a: Measured, b: Measured, new_text: bool) -> Tested | str:
    """Return the test of two means, or the reason why there is none."""
    on_items = part.metric not in OFF_ITEMS
    one, other = (
        Score(own.sample, expected=0, metric=part.metric, cell=own.cell if on_items and new_text else None)
        for own in (a, b)
    )
    compared = compare(one, other, part.factor)
    estimate = compared.estimate
    if estimate is None or a.sample is None or b.sample is None:
        return compared.reason
    return Tested(
        a.sample,
        _scaled(b.sample, part.factor),
        estimate.difference,
        estimate.interval,
        *_directed(part, estimate.one_sided),
        compared.population if on_items else Population.NEW_SEEDS,
        estimate.spread,
        compared.why_this_set if on_items and new_text else "",
    )


def _directed(part: Part, one_sided: Callable[[float], tuple[PValue, PValue]]) -> tuple[PValue, PValue]:
    """Return the p for and against a statement about means; ``one_sided`` gives those above and below a shift."""
    if part.relation is Relation.WITHIN:
        (over_high, under_high), (over_low, under_low) = one_sided(part.margin), one_sided(-part.margin)
        outside = min(over_high, under_low)
        return max(under_high, over_low), outside._replace(p=min(1.0, 2 * outside.p))
    above, below = one_sided(0.0)
    return (above, below) if part.relation is Relation.ABOVE else (below, above)


def _test_stds(part: Part, a: Sample, b: Sample) -> Tested:
    std_a, std_b = stds_of(a, b)
    below, above, test = std_p(a, b)
    if part.relation is Relation.STD_ABOVE:
        below, above = above, below
    population = Population.NEW_SEEDS if part.metric in OFF_ITEMS else Population.THIS_SET
    return Tested(a, b, std_a - std_b, None, PValue(below, test), PValue(above, test), population)
