"""The power of a two-sided t test of two rows with the same number of seeds n, and the seeds that a gap needs.

The usual plan, a noncentral t with the true stds' Satterthwaite degrees of freedom, promises 80 % and gives 70 % at
n = 3 and 78 % at n = 5, because the test has to estimate the stds. So the power is integrated over those estimates.

On new texts the test items vary too, and more seeds do not take that part of the variance away: there is a smallest gap
that any number of seeds finds (``smallest_gap``). Gaps and stds are in the score's unit, 0.01 for one point.
"""

import math
from bisect import bisect_left
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from analysis.statistics.this_set import MIN_SEEDS, Interval, Sample, Spread, mean_interval, satterthwaite

POWER = 0.8
ALPHA = 0.05
MAX_SEEDS = 10_000
"""The largest number of seeds a row that is given; beyond it, the answer is only "more than" this number."""
_CERTAIN = 1e6  # standard errors: the power is 1, and scipy's nct NaN a little further on


def _nodes(count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Gauss-Legendre nodes and weights on (0, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


_SHARES, _SHARE_WEIGHTS = _nodes(32)
_PARTS = [_nodes(count) for count in (4, 10, 8)]  # of the share of one row, the seeds' and the items' variances
_PART_WEIGHTS = np.einsum("i,j,k->ijk", *(weights for _, weights in _PARTS))


def power_of(gap: float, spread: Spread, n: int, alpha: float = ALPHA) -> float:
    """Return the chance in [0, 1] that the test finds ``gap`` with ``n`` seeds a row.

    Raises ValueError for n < 3, stds that are negative or both 0, alpha outside (0, 1), or a gap that is not finite.
    """
    if n < MIN_SEEDS or not 0 < alpha < 1 or not math.isfinite(gap):
        raise ValueError(f"no power of n = {n}, alpha = {alpha}, gap = {gap}")
    if min(spread.std_a, spread.std_b) < 0 or not 0 < spread.std_a + spread.std_b + spread.floor < math.inf:
        raise ValueError(f"stds of {spread.std_a} and {spread.std_b} leave nothing to plan with")
    if spread.floor > 0:
        return _power_on_new_text(gap, spread, n, alpha)
    error = math.hypot(spread.std_a, spread.std_b) / math.sqrt(n)
    return _power(gap / error, spread.std_a / error, spread.std_b / error, n, alpha)


def detectable_difference(spread: Spread, n: int, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """Return the smallest gap found with chance ``power`` by ``n`` seeds a row.

    Returns None for n < 3 (no test is made) and where nothing varies. Raises ValueError unless 0 < alpha < power < 1.
    """
    from scipy.optimize import brentq

    _check(power, alpha)
    if n < MIN_SEEDS or spread.is_zero:
        return None
    error = math.sqrt((spread.std_a**2 + spread.std_b**2) / n + spread.floor)
    return error * float(brentq(lambda shift: power_of(shift * error, spread, n, alpha) - power, 0, _CERTAIN))


def smallest_gap(spread: Spread, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the smallest gap that any number of seeds finds with chance ``power``: 0 on these test items.

    Raises ValueError unless 0 < alpha < power < 1.
    """
    from scipy import stats
    from scipy.optimize import brentq

    _check(power, alpha)
    if spread.floor == 0:
        return 0.0
    df = spread.floor_df
    critical = float(stats.t.isf(alpha / 2, df))
    shift = brentq(lambda shift: float(stats.nct.sf(critical, df, shift)) - power, 0, 100 * critical)
    return math.sqrt(spread.floor) * float(shift)


def seeds_needed(spread: Spread, gap: float, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """Return the seeds a row, at least 3, that find ``gap`` (of either sign) with chance ``power``.

    None means more than ``MAX_SEEDS``, as for a gap of 0 or below ``smallest_gap``. Raises ValueError where nothing
    varies, which leaves nothing to plan with, or unless 0 < alpha < power < 1.
    """
    _check(power, alpha)
    counts = range(MIN_SEEDS, MAX_SEEDS + 1)
    if power_of(gap, spread, MAX_SEEDS, alpha) < power:
        return None
    return counts[bisect_left(counts, power, key=lambda n: power_of(gap, spread, n, alpha))]


def seeds_range(
    spread: Spread, gap: float, power: float = POWER, alpha: float = ALPHA, level: float = 0.8
) -> tuple[int | None, int | None]:
    """Return the fewest and the most seeds a row that find ``gap``, as the std of a difference is known within bounds.

    The bounds are those of the std's chi-square interval. The std of seed a minus seed b has Satterthwaite's degrees of
    freedom (n_a + n_b - 2, the pooled ones, where n and stds are equal), and the bounds scale both stds. ``level`` is
    80 % by default: the upper bound is then the one-sided 90 % limit (Browne 1995, Statistics in Medicine 14, plans
    with the 80 % one); at n = 5, 95 % would span a factor of 8 in seeds instead of 4. The items' part of the variance
    stays as it is. An element of None means more than ``MAX_SEEDS``. Raises ValueError as ``seeds_needed``.
    """
    stds = spread.std_a, spread.std_b
    factors = (1.0, 1.0)
    if any(stds):
        _, df = satterthwaite(stds, (spread.n_a - 1, spread.n_b - 1))
        factors = _std_factors(df, level)
    low, high = (
        seeds_needed(replace(spread, std_a=stds[0] * by, std_b=stds[1] * by), gap, power, alpha) for by in factors
    )
    return low, high


def seeds_phrase(bounds: tuple[int | None, int | None]) -> str:
    """Return ``seeds_range`` in words: "6", "6 to 24", "40 to more than 10,000", "more than 10,000"."""
    words = [f"{count:,}" if count is not None else f"more than {MAX_SEEDS:,}" for count in bounds]
    return " to ".join(dict.fromkeys(words))


def std_interval(sample: Sample, level: float = 0.95) -> Interval | None:
    """Return the chi-square interval of the standard deviation of normal scores, or None as ``mean_interval`` does."""
    if sample.std is None or mean_interval(sample) is None:
        return None
    low, high = _std_factors(sample.n - 1, level)
    return Interval(sample.std * low, sample.std * high, level)


def hours_for(seeds: int, seconds_per_trial: float) -> float:
    """Return the GPU-hours of ``seeds`` trials, ``seconds_per_trial`` each, one at a time.

    Raises ValueError for a negative number.
    """
    if seeds < 0 or not 0 <= seconds_per_trial < math.inf:
        raise ValueError(f"no hours for {seeds} trials of {seconds_per_trial} s")
    return seeds * seconds_per_trial / 3600


def _check(power: float, alpha: float) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"power {power} and alpha {alpha}: 0 < alpha < power < 1 is needed")


def _power(shift: float, std_a: float, std_b: float, n: int, alpha: float) -> float:
    """Return the power of Welch's test at a gap of ``shift`` standard errors, stds in standard errors too.

    With X, Y the chi-squares of the two sample variances (n - 1 df), X + Y and B = X / (X + Y), which is beta
    distributed, are independent. Given B, Welch's degrees of freedom are known and t is a multiple of a noncentral t of
    2 (n - 1) df; over B the power is integrated by Gauss-Legendre in its quantiles.
    """
    from scipy.special import betaincinv, stdtrit  # the quantiles of scipy.stats, which take a hundred times as long
    from scipy.stats import nct

    df = n - 1
    share = betaincinv(df / 2, df / 2, _SHARES)
    variances = 2 * share * std_a**2 / n, 2 * (1 - share) * std_b**2 / n  # of the means, over (X + Y) / 2 df
    total = variances[0] + variances[1]
    welch_df = df * total**2 / (variances[0] ** 2 + variances[1] ** 2)
    critical = -stdtrit(welch_df, alpha / 2) * np.sqrt(total)
    shift = min(abs(shift), _CERTAIN)
    # scipy's nct.cdf is NaN in the far lower tail, its mirror image is not
    tails = nct.sf(critical, 2 * df, shift) + nct.sf(critical, 2 * df, -shift)
    return float(_SHARE_WEIGHTS @ tails)


def _power_on_new_text(gap: float, spread: Spread, n: int, alpha: float) -> float:
    """Return the power where the items vary too.

    As ``_power``, with X + Y and the chi-square of the items' part integrated too: given all three, the estimated
    variance and its Satterthwaite degrees of freedom are known, and the difference is normal. Welch's test over seeds
    has to find it too.
    """
    from scipy import special

    df = n - 1
    (shares, _), (seeds, _), (items, _) = _PARTS
    share = special.betaincinv(df / 2, df / 2, shares)[:, None, None]
    both = special.chdtri(2 * df, 1 - seeds)[None, :, None] / df
    floor = spread.floor * special.chdtri(spread.floor_df, 1 - items)[None, None, :] / spread.floor_df
    of_a, of_b = share * both * spread.std_a**2 / n, (1 - share) * both * spread.std_b**2 / n
    of_seeds = of_a + of_b
    estimated = of_seeds + floor
    estimated_df = estimated**2 / ((of_a**2 + of_b**2) / df + floor**2 / spread.floor_df)
    error = math.sqrt((spread.std_a**2 + spread.std_b**2) / n + spread.floor)
    critical = -special.stdtrit(estimated_df, alpha / 2) * np.sqrt(estimated) / error
    if spread.std_a + spread.std_b > 0:
        seeds_df = df * of_seeds**2 / (of_a**2 + of_b**2)
        critical = np.maximum(critical, -special.stdtrit(seeds_df, alpha / 2) * np.sqrt(of_seeds) / error)
    shift = abs(gap) / error
    tails = special.ndtr(shift - critical) + special.ndtr(-shift - critical)
    return float(np.sum(_PART_WEIGHTS * tails))


def _std_factors(df: float, level: float) -> tuple[float, float]:
    """Return the two factors by which a std of ``df`` degrees of freedom gives its chi-square interval."""
    from scipy import stats

    if not 0 < level < 1:
        raise ValueError(f"level is {level}, not in (0, 1)")
    low, high = stats.chi2.interval(level, df)
    return math.sqrt(df / high), math.sqrt(df / low)
