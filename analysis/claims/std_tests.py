"""Tests of standard deviations over seeds: whether one row's is below another's, and how many seeds would show it."""

import math
from bisect import bisect_left

import numpy as np

from analysis.statistics.power import MAX_SEEDS, POWER
from analysis.statistics.this_set import MIN_SEEDS, Sample

ENDLESS = MAX_SEEDS + 1
"""A number of seeds that stands for more than ``MAX_SEEDS``."""


def std_p(a: Sample, b: Sample) -> tuple[float, float, str]:
    """Return the one-sided p that std(a) < std(b), that std(a) > std(b), and the test's name.

    With raw values it is Bonett's test (2006, Computational Statistics & Data Analysis 50, 775-782): the log of the
    variance ratio over its standard error from the pooled kurtosis. In 20,000 draws of normal, t(4) and gamma(2) scores
    with 3 to 20 seeds it was wrong in at most 5.3 % where 5 % are allowed, F in up to 12 %; at n = 5 it finds a ratio
    of 3 in 40 %, Brown-Forsythe in 24 %. Without raw values it is the F ratio, which takes scores as normal. Raises
    ValueError unless both stds are above 0.
    """
    from scipy import stats

    std_a, std_b = stds_of(a, b)
    if not (a.values and b.values):
        ratio = stats.f(a.n - 1, b.n - 1)
        variances = (std_a / std_b) ** 2
        return float(ratio.cdf(variances)), float(ratio.sf(variances)), "F ratio of standard deviations"
    fourth = sum(float(((np.array(sample.values) - _trimmed_mean(sample)) ** 4).sum()) for sample in (a, b))
    kurtosis = (a.n + b.n) * fourth / ((a.n - 1) * std_a**2 + (b.n - 1) * std_b**2) ** 2
    error = math.sqrt(sum((kurtosis - (n - 3) / n) / (n - 1) for n in (a.n, b.n)))
    z = float(stats.norm.ppf(0.95))  # Bonett's correction for unequal n, at the one-sided level 0.05
    score = math.log(a.n * (b.n - z) / (b.n * (a.n - z)) * (std_a / std_b) ** 2) / error
    return float(stats.norm.cdf(score)), float(stats.norm.sf(score)), "Bonett"


def stds_of(a: Sample, b: Sample) -> tuple[float, float]:
    """Return both standard deviations. Raises ValueError unless both are above 0."""
    if not a.std or not b.std:
        raise ValueError(f"standard deviations of {a.std} and {b.std} have no ratio")
    return a.std, b.std


def _trimmed_mean(sample: Sample) -> float:
    """Return the mean without the share 1 / (2 sqrt(n - 4)) at either end, as in Bonett's test.

    It is the median where nothing is left.
    """
    from scipy import stats

    cut = 1 / (2 * math.sqrt(sample.n - 4)) if sample.n > 4 else 0.5
    return float(np.median(sample.values) if cut >= 0.5 else stats.trim_mean(sample.values, cut))


def seeds_for_stds(ratio: float, level: float) -> int:
    """Return the seeds a row with which the one-sided F test on normal scores finds a ratio below 1 with power 0.8."""
    from scipy import stats

    def power(seeds: int) -> float:
        df = seeds - 1
        return float(stats.f.cdf(stats.f.ppf(level, df, df) / ratio**2, df, df))

    return bisect_left(range(ENDLESS), POWER, lo=MIN_SEEDS, key=power)
