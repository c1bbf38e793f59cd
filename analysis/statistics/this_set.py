"""Intervals and tests over seeds "on this test set": the seeds vary, the test items stay as they are.

A score is one number a seed, in [0, 1]. No interval and no test below ``MIN_SEEDS``, nor where nothing varies (every
seed the same score, up to rounding): the spread can not be estimated there, so the answer is None, never NaN and never
an interval of no width. The permutation tests need no spread and do answer then.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tunekit.errors import UserError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]

MIN_SEEDS = 3
MAX_SPLITS = 20_000
"""The arrangements that a permutation test enumerates at most (8 against 8 seeds has 12,870).

Of more, as many are drawn.
"""
_ROUNDING = 1e-12  # a spread below this part of the values is what floats leave of equal ones
_TIE_DECIMALS = 10  # of statistics on values scaled to [-1, 1]: splits of equal sums are ties


@dataclass(frozen=True)
class Sample:
    """The score of one cell over its seeds; ``values`` is empty where only mean, std and n are published.

    ``std`` is the sample standard deviation (ddof = 1), None below two seeds or where none was published. ValueError
    where the fields contradict each other or are not finite.
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
        """Return the sample of ``values``, one a seed. ValueError where there is none, or one is not finite."""
        scores = tuple(map(float, values))
        if not scores or not all(map(math.isfinite, scores)):
            raise ValueError(f"a sample needs at least one score, all finite, not {scores}")
        first = scores[0]  # taken off before rounding can, so that equal scores have their own mean and no spread
        mean = first + math.fsum(score - first for score in scores) / len(scores)
        squares = math.fsum((score - mean) ** 2 for score in scores)
        return cls(mean, math.sqrt(squares / (len(scores) - 1)) if len(scores) > 1 else None, len(scores), scores)


@dataclass(frozen=True)
class Interval:
    """A confidence interval of confidence ``level`` in (0, 1). ValueError for another level or where a bound is NaN."""

    low: float
    high: float
    level: float

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and self.low <= self.high):
            raise ValueError(f"[{self.low}, {self.high}] at level {self.level} is not an interval")


@dataclass(frozen=True)
class Spread:
    """What the variance of a difference of two means is made of, in the score's unit."""

    std_a: float
    """The standard deviation over seeds of one score of the first row."""
    std_b: float
    n_a: int
    """The number of seeds from which ``std_a`` is estimated."""
    n_b: int
    floor: float = 0.0
    """The variance that no number of seeds takes away: that of the test items. 0 for a question on these items."""
    floor_df: float = 1.0
    """The degrees of freedom from which ``floor`` is estimated."""
    items: int = 0
    """The number of test items that ``floor`` is of."""


@dataclass(frozen=True)
class Difference:
    """An estimate of mean(a) - mean(b), and the t test of ``test``, such as "Welch t", that it is 0."""

    difference: float
    error: float
    """The standard error of the difference."""
    df: float
    test: str
    spread: Spread
    level: float = 0.95
    over_seeds: tuple[float, float] | None = None
    """Standard error and degrees of freedom over seeds alone, which a test for new text has to pass too: with three
    seeds Satterthwaite's degrees of freedom are too many far in the tail. None for a test on this set."""

    @property
    def interval(self) -> Interval:
        """The interval of confidence ``level``: the wider one where there is one over seeds alone too."""
        found = (t_interval(self.difference, error, df, self.level) for error, df in self._tests)
        return max(found, key=lambda one: one.high)

    @property
    def _tests(self) -> list[tuple[float, float]]:
        return [(self.error, self.df), *([self.over_seeds] if self.over_seeds else [])]

    @property
    def p(self) -> float:
        """The two-sided p."""
        return 2 * min(self.one_sided())

    def one_sided(self, shift: float = 0.0) -> tuple[float, float]:
        """Return the p that the true difference is above ``shift``, and that it is below; the larger of two tests'."""
        from scipy import special

        found = [(df, (self.difference - shift) / error) for error, df in self._tests]
        above, below = (max(float(special.stdtr(df, sign * t)) for df, t in found) for sign in (-1, 1))
        return above, below

    def equivalence(self, margin: float) -> float:
        """Return the p of two one-sided tests (Schuirmann 1987) that the means are less than ``margin`` apart.

        ``margin`` is in the score's unit, 0.01 for one point; the larger of the two p. UserError unless it is above 0.
        """
        if not 0 < margin < math.inf:
            raise UserError(f"an equivalence margin of {margin} tests nothing; give one above 0, as 0.01 for one point")
        return max(self.one_sided(margin)[1], self.one_sided(-margin)[0])


@dataclass(frozen=True)
class Paired:
    """Of a minus b over ``n`` common seeds: paired t (``interval``, ``p``), sign-flip p, correlation of the rows.

    ``correlation`` (Pearson) is None where one row does not vary.
    """

    difference: float
    interval: Interval
    p: float
    sign_flip_p: float
    correlation: float | None
    n: int


@dataclass(frozen=True)
class McNemar:
    """Discordant items of one pair of runs: ``b`` only the first has right, ``c`` only the second; two-sided ``p``."""

    b: int
    c: int
    p: float


def mean_interval(sample: Sample, level: float = 0.95) -> Interval | None:
    """Return the Student-t interval of the mean over new seeds. None for n < 3, no std, or no spread."""
    if sample.std is None or sample.n < MIN_SEEDS or _negligible(sample.std, sample.mean):
        return None
    return t_interval(sample.mean, sample.std / math.sqrt(sample.n), sample.n - 1, level)


def satterthwaite(errors: Sequence[float], dfs: Sequence[float]) -> tuple[float, float]:
    """Return the standard error of a sum of independent parts, and its degrees of freedom (Satterthwaite 1946,
    Biometrics 2).

    ``errors`` and ``dfs`` are those of the parts; at least one error is above 0.
    """
    total = math.hypot(*errors)
    return total, 1 / sum((error / total) ** 4 / df for error, df in zip(errors, dfs, strict=True))


def welch(a: Sample, b: Sample, level: float = 0.95) -> Difference | None:
    """Return Welch's (1947, Biometrika 34) two-sided t test of mean(a) - mean(b), the stds free to differ, from mean,
    std, n.

    None where either has n < 3 or no std, and where neither varies; one of the two may have std 0.
    """
    if a.std is None or b.std is None or min(a.n, b.n) < MIN_SEEDS or _negligible(max(a.std, b.std), a.mean, b.mean):
        return None
    error, df = satterthwaite((a.std / math.sqrt(a.n), b.std / math.sqrt(b.n)), (a.n - 1, b.n - 1))
    return Difference(a.mean - b.mean, error, df, "Welch t", Spread(a.std, b.std, a.n, b.n), level)


def permutation_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the two-sided p of the unpaired permutation test on the difference of means: twice the smaller tail, at
    most 1.

    Exact (all splits) up to ``MAX_SPLITS`` splits; beyond, as many seeded draws. Its null is that both rows have the
    same distribution, spread included: at stds of 4:1 and n = 5 it rejects 8 % of equal means, Welch's t 5 %. None
    where either n < 3; 1 where all values are the same.
    """
    if min(len(a), len(b)) < MIN_SEEDS:
        return None
    first, second = sorted((sorted(a), sorted(b)))  # the order of values and rows decides nothing, drawn splits too
    pooled = _scores([*first, *second])
    centred = pooled - pooled.mean()
    scale = float(np.abs(centred).max())
    if _negligible(scale, *pooled):
        return 1.0
    return _permuted_p(np.split(centred / scale, [len(first)]), "independent")


def paired(a: Mapping[int, float], b: Mapping[int, float], level: float = 0.95) -> Paired | None:
    """Return the paired t and sign-flip test over the seeds that both rows have; scores keyed by seed.

    Only for rows whose runs of one seed share their initialisation: elsewhere a common seed number pairs nothing. The
    sign-flip test enumerates 2^n sign patterns as ``permutation_p`` does its splits. None below 3 common seeds, and
    where the differences do not vary.
    """
    from scipy import stats

    seeds = sorted(a.keys() & b.keys())
    if len(seeds) < MIN_SEEDS:
        return None
    first, second = (_scores(row[seed] for seed in seeds) for row in (a, b))
    differences = first - second
    if _negligible(float(differences.std()), *first, *second):
        return None
    test = stats.ttest_rel(first, second)
    bounds = test.confidence_interval(level)
    fixed = any(_negligible(float(row.std()), *row) for row in (first, second))
    return Paired(
        difference=float(differences.mean()),
        interval=Interval(float(bounds.low), float(bounds.high), level),
        p=float(test.pvalue),
        sign_flip_p=_permuted_p([differences / np.abs(differences).max()], "samples"),
        correlation=None if fixed else float(stats.pearsonr(first, second).statistic),
        n=len(seeds),
    )


def mcnemar(gold: IntArray, predicted_a: IntArray, predicted_b: IntArray) -> McNemar:
    """Return the exact McNemar (1947) test of ONE run against one other, each (I,): binomial on the discordant items.

    It says nothing of other seeds and takes items as independent. p = 1 without discordant items. ValueError where the
    shapes differ.
    """
    from scipy import stats

    if not gold.shape == predicted_a.shape == predicted_b.shape:
        raise ValueError("gold and the two runs' predictions differ in shape")
    right_a, right_b = predicted_a == gold, predicted_b == gold
    b, c = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    return McNemar(b, c, float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0)


def _scores(values: Iterable[float]) -> FloatArray:
    scores = np.array(list(values), dtype=float)
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, not {scores.tolist()}")
    return scores


def _negligible(spread: float, *values: float) -> bool:
    """Return whether a spread of, or around, ``values`` is no more than rounding."""
    return spread <= _ROUNDING * max(map(abs, values))


def varies(sample: Sample) -> bool:
    """Return whether the scores of ``sample`` differ between seeds by more than rounding."""
    return sample.std is not None and not _negligible(sample.std, sample.mean)


def t_interval(centre: float, error: float, df: float, level: float) -> Interval:
    """Return Student's t interval of confidence ``level`` around ``centre``, whose standard error is ``error``."""
    from scipy import stats

    low, high = stats.t.interval(level, df, loc=centre, scale=error)
    return Interval(float(low), float(high), level)


def _permuted_p(samples: Sequence[FloatArray], permuted: str) -> float:
    """Return the two-sided p of the mean of one sample, or the difference of two, over scipy's ``permutation_type``."""
    from scipy import stats

    def statistic(first: FloatArray, *rest: FloatArray, axis: int) -> Any:
        return np.round(first.mean(axis=axis) - sum(other.mean(axis=axis) for other in rest), _TIE_DECIMALS)

    test = stats.permutation_test(
        samples,
        statistic,
        permutation_type=permuted,
        vectorized=True,
        n_resamples=MAX_SPLITS,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)
