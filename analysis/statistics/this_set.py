"""Intervals and tests over seeds on these test items: the seeds vary, the test items stay as they are.

A score is one number a seed, in [0, 1]. There is no interval and no test below ``MIN_SEEDS``, nor where nothing varies
(every seed has the same score, up to rounding): the spread can not be estimated there, so the answer is None, never NaN
and never an interval of no width.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from tunekit.errors import UserError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

MIN_SEEDS = 3
WELCH = "Welch's t over seeds"
_ROUNDING = 1e-12  # a spread below this part of the values is what floats leave of equal ones


@dataclass(frozen=True)
class Sample:
    """The score of one cell over its seeds; ``values`` is empty where only mean, std and n are published.

    ``std`` is the sample standard deviation (ddof = 1), None below two seeds or where none was published. Raises
    ValueError where the fields contradict each other or are not finite.
    """

    mean: float
    std: float | None
    n: int
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.mean, *self.values))):
            raise ValueError("a sample has a score that is not finite")
        if self.n < 1 or len(self.values) not in (0, self.n):
            raise ValueError(f"a sample of n = {self.n} has {len(self.values)} values")
        if self.std is not None and (self.n < 2 or not 0 <= self.std < math.inf):
            raise ValueError(f"a sample of n = {self.n} can not have the standard deviation {self.std}")

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the sample of ``values``, one a seed. Raises ValueError where there is none, or one is not finite."""
        scores = tuple(map(float, values))
        if not scores or not all(map(math.isfinite, scores)):
            raise ValueError(f"a sample needs at least one score, all finite, not {scores}")
        first = scores[0]  # taken off before rounding can, so that equal scores have their own mean and no spread
        mean = first + math.fsum(score - first for score in scores) / len(scores)
        squares = math.fsum((score - mean) ** 2 for score in scores)
        return cls(mean, math.sqrt(squares / (len(scores) - 1)) if len(scores) > 1 else None, len(scores), scores)


@dataclass(frozen=True)
class Interval:
    """A confidence interval of confidence ``level`` in (0, 1).

    Raises ValueError for another level, or where a bound is NaN or the two are the wrong way round.
    """

    low: float
    high: float
    level: float

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and self.low <= self.high):
            raise ValueError(f"[{self.low}, {self.high}] at level {self.level} is not an interval")


@dataclass(frozen=True)
class Spread:
    """The parts that make up the variance of a difference of two means, in the score's unit."""

    std_a: float
    """The standard deviation over seeds of one score of the first row."""
    std_b: float
    """The standard deviation over seeds of one score of the second row."""
    n_a: int
    """The number of seeds from which ``std_a`` is estimated."""
    n_b: int
    """The number of seeds from which ``std_b`` is estimated."""
    floor: float = 0.0
    """The variance that no number of seeds takes away: that of the test items. 0 for a question on these test items."""
    floor_df: float = 1.0
    """The degrees of freedom from which ``floor`` is estimated."""
    items: int = 0
    """The number of test items from which ``floor`` is estimated."""
    groups: int = 0
    """The number of groups of these items: items of one group are drawn together."""

    @property
    def is_zero(self) -> bool:
        """Whether no part varies, so that there is nothing to plan seeds with.

        On new texts there may be a test all the same. An example is trials that each predict a single class, not all
        the same one, with equal scores: their errors on items differ by chance alone, which the test counts.
        """
        return self.std_a == self.std_b == self.floor == 0


@dataclass(frozen=True)
class TTest:
    """One t test of a difference: its name, and the standard error and degrees of freedom of the difference."""

    name: str
    error: float
    df: float


class PValue(NamedTuple):
    """A p and the name of the test that gave it."""

    p: float
    test: str


@dataclass(frozen=True)
class Difference:
    """An estimate of mean(a) - mean(b), and the t tests that it is 0; of several tests the largest p counts.

    On these test items there is one test, Welch's. On new texts Welch's test is the second one: the difference has to
    hold over seeds too, because with three seeds Satterthwaite's degrees of freedom are too many far in the tail.
    """

    difference: float
    tests: tuple[TTest, ...]
    spread: Spread
    level: float = 0.95

    @property
    def interval(self) -> Interval:
        """The interval of confidence ``level``, the widest of those of the tests."""
        found = (t_interval(self.difference, test.error, test.df, self.level) for test in self.tests)
        return max(found, key=lambda one: one.high)

    @property
    def p(self) -> float:
        """The two-sided p."""
        return 2 * min(self.one_sided()).p

    @property
    def test(self) -> str:
        """The name of the test that gave ``p``."""
        return min(self.one_sided()).test

    def one_sided(self, shift: float = 0.0) -> tuple[PValue, PValue]:
        """Return the p that the true difference is above ``shift``, and the p that it is below.

        Each is the largest of the tests' p.
        """
        from scipy import special

        def largest(sign: int) -> PValue:
            scaled = sign * (self.difference - shift)
            return max(PValue(float(special.stdtr(test.df, scaled / test.error)), test.name) for test in self.tests)

        return largest(-1), largest(1)

    def equivalence(self, margin: float) -> float:
        """Return the p of two one-sided tests (Schuirmann 1987) that the means are less than ``margin`` apart.

        It is the larger of the two p. ``margin`` is in the score's unit, 0.01 for one point. Raises UserError unless it
        is above 0.
        """
        if not 0 < margin < math.inf:
            raise UserError(f"an equivalence margin of {margin} tests nothing; give one above 0, as 0.01 for one point")
        return max(self.one_sided(margin)[1].p, self.one_sided(-margin)[0].p)


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of one pair of runs, from the items that only one of them has right."""

    b: int
    """The number of items that only the first run has right."""
    c: int
    """The number of items that only the second run has right."""
    p: float
    """The two-sided p."""


def mean_interval(sample: Sample, level: float = 0.95) -> Interval | None:
    """Return the Student-t interval of the mean over new seeds; None for n < 3, no std, or no spread."""
    if sample.std is None or sample.n < MIN_SEEDS or negligible(sample.std, sample.mean):
        return None
    return t_interval(sample.mean, sample.std / math.sqrt(sample.n), sample.n - 1, level)


def satterthwaite(errors: Sequence[float], dfs: Sequence[float]) -> tuple[float, float]:
    """Return the standard error of a sum of independent parts, and its degrees of freedom.

    The degrees of freedom are those of Satterthwaite (1946, Biometrics 2). ``errors`` and ``dfs`` are those of the
    parts; at least one error is above 0.
    """
    total = math.hypot(*errors)
    return total, 1 / sum((error / total) ** 4 / df for error, df in zip(errors, dfs, strict=True))


def over_seeds(stds: Sequence[float], counts: Sequence[int]) -> TTest:
    """Return Welch's t test over seeds, of rows with these standard deviations, not all 0, and numbers of seeds.

    For a single row it is Student's test.
    """
    errors = [std / math.sqrt(n) for std, n in zip(stds, counts, strict=True)]
    return TTest(WELCH, *satterthwaite(errors, [n - 1 for n in counts]))


def welch(a: Sample, b: Sample, level: float = 0.95) -> Difference | None:
    """Return Welch's (1947, Biometrika 34) two-sided t test of mean(a) - mean(b), where the stds may differ.

    It is made from mean, std and n alone. Returns None where either has n < 3 or no std, and where neither varies; one
    of the two may have std 0.
    """
    if a.std is None or b.std is None or min(a.n, b.n) < MIN_SEEDS or negligible(max(a.std, b.std), a.mean, b.mean):
        return None
    return Difference(a.mean - b.mean, (over_seeds((a.std, b.std), (a.n, b.n)),), Spread(a.std, b.std, a.n, b.n), level)


def mcnemar(gold: IntArray, predicted_a: IntArray, predicted_b: IntArray) -> McNemar:
    """Return the exact McNemar (1947) test of ONE run against one other, each (I,): binomial on the discordant items.

    It says nothing of other seeds and takes items as independent. p = 1 without discordant items. Raises ValueError
    where the shapes differ.
    """
    from scipy import stats

    if not gold.shape == predicted_a.shape == predicted_b.shape:
        raise ValueError("gold and the two runs' predictions differ in shape")
    right_a, right_b = predicted_a == gold, predicted_b == gold
    b, c = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    return McNemar(b, c, float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0)


def negligible(spread: float, *values: float) -> bool:
    """Return whether a spread of, or around, ``values`` is no more than rounding."""
    return spread <= _ROUNDING * max(map(abs, values))


def varies(sample: Sample) -> bool:
    """Return whether the scores of ``sample`` differ between seeds by more than rounding."""
    return sample.std is not None and not negligible(sample.std, sample.mean)


def t_interval(centre: float, error: float, df: float, level: float) -> Interval:
    """Return Student's t interval of confidence ``level`` around ``centre``, whose standard error is ``error`` > 0."""
    from scipy.special import stdtrit  # the quantile of scipy.stats.t, which takes a hundred times as long

    low, high = centre + error * stdtrit(df, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(low), float(high), level)
