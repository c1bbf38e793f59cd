"""The test of one part of a claim: one statement about two rows, on one dataset, in one metric."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count, product

from analysis.claims.grammar import COMPARED, SCORES, Part, Relation
from analysis.claims.measured import Lookup, Measured
from analysis.claims.row import ClaimRow
from analysis.claims.std_tests import ENDLESS, seeds_for_stds, std_p, stds_of
from analysis.report.comparisons import compared_on_new_text
from analysis.statistics.power import seeds_range
from analysis.statistics.this_set import MIN_SEEDS, Comparison, Interval, Sample, welch

ON_ITEMS = (*SCORES, "overfit")
"""The metrics whose value depends on the items that are scored."""


class Verdict(StrEnum):
    """What the numbers say of a claim or of a part of it."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided at this n"
    NOT_TESTABLE = "not testable"


class Population(StrEnum):
    """What a verdict holds for."""

    NEW_TEXT = "new text of this kind"
    """New seeds, and new items of the kind that the split holds."""
    THESE_ITEMS = "these test items"
    """New seeds, on the items that were scored."""
    NEW_SEEDS = "new seeds"
    """New seeds, for what no item has: a loss in training, seconds."""
    COMPARED = "what was compared"
    """Nothing more: what seeds don't move is not tested."""


@dataclass(frozen=True)
class Tested:
    """The test of a part; a minus b in the metric's unit, b scaled by the part's factor."""

    a: Sample
    b: Sample
    difference: float
    """The difference of the means, or of the standard deviations where the statement is about standard deviations."""
    interval: Interval | None
    """The interval of the difference of means (Welch); None for standard deviations, and where neither row varies."""
    p: float
    """The one-sided p for the statement."""
    p_against: float
    """The one-sided p for the opposite of the statement."""
    test: str
    population: Population
    why_not_new_text: str = ""
    """Why there is no answer for new text although scores on items are compared; empty where there is one."""


@dataclass(frozen=True)
class PartResult:
    """A part and its own verdict, uncorrected for the other parts and claims."""

    part: Part
    verdict: Verdict
    tested: Tested | None
    a: Measured
    """What the part used of its first row: the configuration, its split and its runs."""
    b: Measured
    missing: tuple[ClaimRow, ...] = ()
    """The rows that have no value."""
    reason: str = ""
    """Why the rows that have values can't be tested."""

    @property
    def p(self) -> float:
        """One-sided p for the statement; 1 where it was not tested."""
        return self.tested.p if self.tested else 1.0

    @property
    def p_against(self) -> float:
        """One-sided p for the opposite; 1 where it was not tested."""
        return self.tested.p_against if self.tested else 1.0

    def points(self, holds: bool) -> bool:
        """Return whether the estimate lies on the side where the statement holds, or on the other.

        False for neither.
        """
        if self.tested is None:
            return False
        if self.part.relation is Relation.WITHIN:
            return (abs(self.tested.difference) < self.part.margin) is holds
        return self.p < self.p_against if holds else self.p_against < self.p


def check(part: Part, lookup: Lookup, alpha: float, new_text: bool = True) -> PartResult:
    """Test a part on what ``lookup`` gives for its rows, or say what is missing.

    Means of scores are tested for new text (seeds and items vary) where predictions are stored and ``new_text`` is not
    False, else by Welch's t on these items; both one-sided. "within" is two one-sided tests, and its opposite either
    bound crossed (twice the smaller p). Standard deviations are tested by ``std_p``. What seeds don't move is compared
    run by run: supported where every run holds, contradicted where none does.
    """
    a, b = (lookup(row, part.dataset, part.metric) for row in (part.a, part.b))
    missing = tuple(row for row, own in ((part.a, a), (part.b, b)) if own.sample is None and not own.reason)
    reasons = [own.reason for own in (a, b) if own.reason]
    if a.sample is None or b.sample is None or reasons:
        return PartResult(part, Verdict.NOT_TESTABLE, None, a, b, missing, "; ".join(dict.fromkeys(reasons)))
    if reason := _problem(part, a, b) or _too_little(part, a.sample, b.sample):
        return PartResult(part, Verdict.NOT_TESTABLE, None, a, b, reason=reason)
    if part.metric in COMPARED:
        tested = _compare(part, a, b)
    elif part.relation.of_stds:
        tested = _test_stds(part, a.sample, b.sample)
    else:
        tested = _test_means(part, a, b, new_text)
    return PartResult(part, verdict_of(tested.p, tested.p_against, alpha), tested, a, b)


def verdict_of(p: float, p_against: float, alpha: float) -> Verdict:
    """Return the verdict of two one-sided p at level ``alpha``."""
    if p <= alpha:
        return Verdict.SUPPORTED
    return Verdict.CONTRADICTED if p_against <= alpha else Verdict.UNDECIDED


def mean_p(a: Sample, b: Sample, shift: float = 0.0) -> tuple[float, float]:
    """Return the one-sided Welch p that mean(a) - mean(b) is above ``shift``, and that it is below; n >= 3 and a std in
    both.

    Where neither row varies there is no t: the exact permutation p, the one split seen out of all.
    """
    test = welch(replace(a, values=()), replace(b, values=()))
    if test is not None:
        return one_sided(test, shift)
    if math.isclose(a.mean - shift, b.mean, rel_tol=1e-12):
        return 1.0, 1.0
    rarest = 1 / math.comb(a.n + b.n, a.n)
    return (rarest, 1.0) if a.mean - shift > b.mean else (1.0, rarest)


def one_sided(compared: Comparison, shift: float = 0.0) -> tuple[float, float]:
    """Return the one-sided p that the difference of a t test is above ``shift``, and that it is below."""
    from scipy import stats

    quantile = stats.t.ppf((1 + compared.interval.level) / 2, compared.df)
    error = (compared.interval.high - compared.interval.low) / 2 / quantile
    score = (compared.difference - shift) / error
    return float(stats.t.sf(score, compared.df)), float(stats.t.cdf(score, compared.df))


def seeds_needed(result: PartResult, level: float, holds: bool) -> tuple[int, int]:
    """Return the fewest and most seeds a row at which the one-sided p for (or against) the part is at most ``level``,
    power 0.8.

    Takes the difference for what it looks like; ``ENDLESS`` where it points to the other side. For standard deviations
    the number for normal scores.
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
    planned = seeds_range(a, b, abs(result.part.margin - abs(tested.difference)), alpha=2 * level)
    if planned is None:  # neither row varies
        seeds = next(n for n in count(MIN_SEEDS) if 1 / math.comb(2 * n, n) <= level)
        return seeds, seeds
    low, high = (ENDLESS if bound is None else bound for bound in planned)
    return low, high


def _problem(part: Part, a: Measured, b: Measured) -> str | None:
    """Return what keeps two rows from being compared at all."""
    if a.cell is not None and a.cell is b.cell:
        return f"{part.a} and {part.b} are one configuration on {part.dataset}"
    if part.metric in ON_ITEMS and a.split != b.split:
        return f"on {part.dataset} {part.a} was scored on {a.split}, {part.b} on {b.split}"
    if part.metric in COMPARED and part.relation.of_stds:
        return f"seeds do not move {part.metric}, so it has no standard deviation to compare"
    return None


def _too_little(part: Part, a: Sample, b: Sample) -> str | None:
    """Return what keeps a sample from being tested; comparing takes one run."""
    if part.metric in COMPARED:
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

    Runs of one name are held against each other (a seed, a workload), and where the names differ, each against each.
    """
    assert a.sample
    assert b.sample
    assert a.runs
    assert b.runs
    same = a.runs.keys() == b.runs.keys()
    pairs = (
        [(a.runs[name], b.runs[name]) for name in a.runs] if same else list(product(a.runs.values(), b.runs.values()))
    )
    sign = 1 if part.relation is Relation.ABOVE else -1
    held = [sign * (first - part.factor * second) > 0 for first, second in pairs]
    scaled = _scaled(b.sample, part.factor)
    p = (0.0, 1.0) if all(held) else (1.0, 1.0) if any(held) else (1.0, 0.0)
    shares = sorted(first / second for first, second in pairs)
    bounds = " to ".join(dict.fromkeys(f"{share:.3g}" for share in (shares[0], shares[-1])))
    kind = a.kind if same else f"pairs of {a.kind}"
    test = (
        f"compared, not tested: {part.a} has {bounds} of the value of {part.b}, so that the statement holds in "
        f"{sum(held)} of {len(held)} {kind}"
    )
    return Tested(a.sample, scaled, a.sample.mean - scaled.mean, None, *p, test, Population.COMPARED)


def _test_means(part: Part, a: Measured, b: Measured, new_text: bool) -> Tested:
    """Return the test of two means: for new text where there is an answer, else on these items."""
    sample_a, sample_b = a.sample, b.sample
    assert sample_a is not None
    assert sample_b is not None
    scaled = _scaled(sample_b, part.factor)
    on_items = part.metric in ON_ITEMS
    crossed, why_not = _on_new_text(part, a, b) if on_items and new_text else (None, "")
    if crossed is not None:
        p, p_against = _directed(part, lambda shift: one_sided(crossed, shift))
        return Tested(
            sample_a, scaled, crossed.difference, crossed.interval, p, p_against, crossed.test, Population.NEW_TEXT
        )
    compared = welch(sample_a, scaled)
    interval, test = (compared.interval, "Welch t") if compared else (None, "permutation, neither row varies")
    p, p_against = _directed(part, lambda shift: mean_p(sample_a, scaled, shift))
    population = Population.THESE_ITEMS if on_items else Population.NEW_SEEDS
    difference = sample_a.mean - scaled.mean
    return Tested(sample_a, scaled, difference, interval, p, p_against, test, population, why_not)


def _directed(part: Part, one_sided_p: Callable[[float], tuple[float, float]]) -> tuple[float, float]:
    """Return p for and against a statement about means, from the p that the difference is above and below a shift."""
    if part.relation is Relation.WITHIN:
        (over_high, under_high), (over_low, under_low) = one_sided_p(part.margin), one_sided_p(-part.margin)
        return max(under_high, over_low), min(1.0, 2 * min(over_high, under_low))
    above, below = one_sided_p(0.0)
    return (above, below) if part.relation is Relation.ABOVE else (below, above)


def _on_new_text(part: Part, a: Measured, b: Measured) -> tuple[Comparison | None, str]:
    """Return the comparison of two rows on new text, or why there is none."""
    if part.factor != 1:
        return None, "a factor is not tested for new text"
    if a.cell is None or b.cell is None:
        return None, "no predictions"
    return compared_on_new_text(part.metric, a.cell, b.cell)


def _test_stds(part: Part, a: Sample, b: Sample) -> Tested:
    std_a, std_b = stds_of(a, b)
    p, p_against, test = std_p(a, b)
    if part.relation is Relation.STD_ABOVE:
        p, p_against = p_against, p
    population = Population.THESE_ITEMS if part.metric in ON_ITEMS else Population.NEW_SEEDS
    return Tested(a, b, std_a - std_b, None, p, p_against, test, population)
