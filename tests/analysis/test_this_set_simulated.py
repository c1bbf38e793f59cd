"""Statistics over seeds in 2,000 simulated studies of five normal scores a row: coverage, false positives, power."""

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.multiple import holm
from analysis.statistics.permutation import permutation_p
from analysis.statistics.this_set import Sample, mean_interval, welch

pytestmark = pytest.mark.slow

STUDIES, SEEDS = 2000, 5


def studies(rng_seed, *stds, gap=0.0, mean=0.7):
    """Normal scores (STUDIES, rows, SEEDS); the first row's true mean is ``gap`` above the others'."""
    rng = np.random.default_rng(rng_seed)
    scores = rng.normal(mean, np.array(stds)[:, None], (STUDIES, len(stds), SEEDS))
    scores[:, 0] += gap
    return scores


def test_the_mean_interval_covers_the_true_mean():
    intervals = [mean_interval(Sample.of(scores)) for (scores,) in studies(1, 0.02)]
    assert 0.93 <= np.mean([interval.low <= 0.7 <= interval.high for interval in intervals]) <= 0.97


@pytest.mark.parametrize("stds", [(0.02, 0.02), (0.04, 0.01)])
def test_welch_rejects_few_true_nulls_and_its_interval_covers(stds):
    results = [welch(*map(Sample.of, rows)) for rows in studies(2, *stds)]
    rejected = np.mean([result.p <= 0.05 for result in results])
    assert 0.03 <= rejected <= 0.06
    covered = [result.interval.low <= 0 <= result.interval.high for result in results]
    assert np.mean(covered) == pytest.approx(1 - rejected)


def test_welch_and_permutation_find_a_gap_of_two_stds():
    scores = studies(3, 0.02, 0.02, gap=0.04)
    assert np.mean([welch(*map(Sample.of, rows)).p <= 0.05 for rows in scores]) >= 0.7
    assert np.mean([permutation_p(*rows) <= 0.05 for rows in scores[:400]]) >= 0.65


def test_permutation_rejects_true_nulls_as_often_as_its_splits_can():
    """Of the 252 splits of 5 against 5 seeds, 12 have a p of at most 0.05."""
    count = 500
    rejected = sum(permutation_p(*rows) <= 0.05 for rows in studies(4, 0.02, 0.02)[:count])
    low, high = stats.binom.ppf((0.005, 0.995), count, 12 / 252)
    assert low <= rejected <= high


def test_equivalence_is_seldom_found_at_the_margin_and_often_well_within():
    at_margin = [welch(*map(Sample.of, rows)).equivalence(0.04) <= 0.05 for rows in studies(5, 0.02, 0.02, gap=0.04)]
    within = [welch(*map(Sample.of, rows)).equivalence(0.06) <= 0.05 for rows in studies(5, 0.02, 0.02)]
    assert 0.03 <= np.mean(at_margin) <= 0.06
    assert np.mean(within) >= 0.7


def test_holm_keeps_the_family_of_six_true_nulls():
    p_values = [
        [welch(Sample.of(a), Sample.of(b)).p for a, b in study]
        for study in studies(6, *[0.02] * 12).reshape(STUDIES, 6, 2, SEEDS)
    ]
    adjusted = [min(holm(family)) for family in p_values]
    assert np.mean(np.array(p_values).min(axis=1) <= 0.05) > 0.2
    assert 0.03 <= np.mean(np.array(adjusted) <= 0.05) <= 0.06
