"""How many seeds a gap needs: power of the two-sided Welch t test with the same number of seeds n in both rows.

The usual plan, a noncentral t with the true stds' Satterthwaite degrees of freedom, promises 80 % and gives 70 % at
n = 3 and 78 % at n = 5, for the test has to estimate them. So the power is integrated over what it estimates. Gaps and
stds are in the score's unit, 0.01 for one point.
"""

import math
from bisect import bisect_left

import numpy as np

from analysis.statistics.this_set import MIN_SEEDS, Interval, Sample, mean_interval, satterthwaite, welch

POWER = 0.8
ALPHA = 0.05
MAX_SEEDS = 10_000
"""Seeds a row beyond which a number says only: more than that."""
_CERTAIN = 1e6  # standard errors: the power is 1, and scipy's nct NaN a little further on
_NODES, _DOUBLE_WEIGHTS = np.polynomial.legendre.leggauss(32)
_QUANTILES, _WEIGHTS = (_NODES + 1) / 2, _DOUBLE_WEIGHTS / 2


def welch_power(gap: float, std_a: float, std_b: float, n: int, alpha: float = ALPHA) -> float:
    """Chance in [0, 1] that Welch's test finds ``gap`` with ``n`` seeds a row.

    ValueError for n < 3, stds that are negative or both 0, alpha outside (0, 1), or a gap that is not finite.
    """
    if n < MIN_SEEDS or not 0 < alpha < 1 or not math.isfinite(gap):
        raise ValueError(f"no power of n = {n}, alpha = {alpha}, gap = {gap}")
    error = _error(std_a, std_b, n)
    return _power(gap / error, std_a / error, std_b / error, n, alpha)


def detectable_difference(
    std_a: float, std_b: float, n: int, power: float = POWER, alpha: float = ALPHA
) -> float | None:
    """The smallest gap found with chance ``power`` by ``n`` seeds a row.

    None for n < 3 (no test is made) and where both stds are 0. ValueError unless 0 < alpha < power < 1.
    """
    from scipy.optimize import brentq

    _check(power, alpha)
    if n < MIN_SEEDS or std_a == std_b == 0:
        return None
    error = _error(std_a, std_b, n)
    parts = std_a / error, std_b / error
    return error * float(brentq(lambda shift: _power(shift, *parts, n, alpha) - power, 0, _CERTAIN))


def seeds_needed(std_a: float, std_b: float, gap: float, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """Seeds a row, at least 3, that find ``gap`` (of either sign) with chance ``power``.

    None says more than ``MAX_SEEDS``, as for a gap of 0. ValueError where both stds are 0, which leaves nothing to plan
    with, or unless 0 < alpha < power < 1.
    """
    _check(power, alpha)
    counts = range(MIN_SEEDS, MAX_SEEDS + 1)
    at = bisect_left(counts, power, key=lambda n: welch_power(gap, std_a, std_b, n, alpha))
    return counts[at] if at < len(counts) else None


def seeds_range(
    a: Sample, b: Sample, gap: float, power: float = POWER, alpha: float = ALPHA, level: float = 0.8
) -> tuple[int | None, int | None] | None:
    """Fewest and most seeds a row that find ``gap``, over the chi-square interval of the std of a difference.

    The std of seed a minus seed b has Satterthwaite's degrees of freedom (n_a + n_b - 2, the pooled ones, where n and
    stds are equal); its bounds scale both stds. 80 % by default: its upper bound is the one-sided 90 % limit (Browne
    1995, Statistics in Medicine 14, plans with the 80 % one); at n = 5, 95 % would span a factor of 8 in seeds instead
    of 4. An element of None says more than ``MAX_SEEDS``. None where either has n < 3 or no std, or neither varies.
    """
    if a.std is None or b.std is None or welch(a, b) is None:
        return None
    _, df = satterthwaite((a.std, b.std), (a.n - 1, b.n - 1))
    low, high = (seeds_needed(a.std * by, b.std * by, gap, power, alpha) for by in _std_factors(df, level))
    return low, high


def seeds_phrase(bounds: tuple[int | None, int | None]) -> str:
    """``seeds_range`` in words: "6", "6 to 24", "40 to more than 10,000", "more than 10,000"."""
    words = [f"{count:,}" if count is not None else f"more than {MAX_SEEDS:,}" for count in bounds]
    return " to ".join(dict.fromkeys(words))


def std_interval(sample: Sample, level: float = 0.95) -> Interval | None:
    """Chi-square interval of the standard deviation of normal scores. None as ``mean_interval``."""
    if sample.std is None or mean_interval(sample) is None:
        return None
    low, high = _std_factors(sample.n - 1, level)
    return Interval(sample.std * low, sample.std * high, level)


def hours_for(seeds: int, seconds_per_trial: float) -> float:
    """GPU-hours of ``seeds`` trials, ``seconds_per_trial`` each, one at a time. ValueError for a negative number."""
    if seeds < 0 or not 0 <= seconds_per_trial < math.inf:
        raise ValueError(f"no hours for {seeds} trials of {seconds_per_trial} s")
    return seeds * seconds_per_trial / 3600


def _check(power: float, alpha: float) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"power {power} and alpha {alpha}: 0 < alpha < power < 1 is needed")


def _error(std_a: float, std_b: float, n: int) -> float:
    """Standard error of the difference of means of ``n`` seeds a row."""
    if min(std_a, std_b) < 0 or not 0 < std_a + std_b < math.inf:
        raise ValueError(f"stds of {std_a} and {std_b} leave nothing to plan with")
    return math.hypot(std_a, std_b) / math.sqrt(n)


def _power(shift: float, std_a: float, std_b: float, n: int, alpha: float) -> float:
    """Power at a gap of ``shift`` standard errors, stds in standard errors too.

    With X, Y the chi-squares of the two sample variances (n - 1 df), X + Y and B = X / (X + Y), which is beta
    distributed, are independent. Given B, Welch's degrees of freedom are known and t is a multiple of a noncentral t of
    2 (n - 1) df; over B the power is integrated by Gauss-Legendre in its quantiles.
    """
    from scipy import stats

    df = n - 1
    share = stats.beta.ppf(_QUANTILES, df / 2, df / 2)
    variances = 2 * share * std_a**2 / n, 2 * (1 - share) * std_b**2 / n  # of the means, over (X + Y) / 2 df
    total = variances[0] + variances[1]
    welch_df = df * total**2 / (variances[0] ** 2 + variances[1] ** 2)
    critical = stats.t.isf(alpha / 2, welch_df) * np.sqrt(total)
    shift = min(abs(shift), _CERTAIN)
    # scipy's nct.cdf is NaN in the far lower tail, its mirror image is not
    tails = stats.nct.sf(critical, 2 * df, shift) + stats.nct.sf(critical, 2 * df, -shift)
    return float(_WEIGHTS @ tails)


def _std_factors(df: float, level: float) -> tuple[float, float]:
    """By what to multiply a std of ``df`` degrees of freedom for its chi-square interval."""
    from scipy import stats

    if not 0 < level < 1:
        raise ValueError(f"level is {level}, not in (0, 1)")
    low, high = stats.chi2.interval(level, df)
    return math.sqrt(df / high), math.sqrt(df / low)
