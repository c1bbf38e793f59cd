"""Planning: power as simulated, seeds as statsmodels counts them, ranges from the interval of the std."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from analysis.statistics.power import (
    MAX_SEEDS,
    detectable_difference,
    hours_for,
    power_of,
    seeds_needed,
    seeds_phrase,
    seeds_range,
    smallest_gap,
    std_interval,
)
from analysis.statistics.this_set import Sample, Spread, welch

pytestmark = pytest.mark.slow

STUDIES = 2000
spread = st.integers(1, 60).map(lambda k: k / 1000)
some = settings(max_examples=40, deadline=None)


def plan(std_a, std_b, n_a=5, n_b=5, **floor):
    return Spread(std_a, std_b, n_a, n_b, **floor)


def found(rng_seed, gap, std_a, std_b, n):
    """Share of simulated studies in which Welch's test finds the gap."""
    rng = np.random.default_rng(rng_seed)
    studies = zip(rng.normal(gap, std_a, (STUDIES, n)), rng.normal(0, std_b, (STUDIES, n)), strict=True)
    return np.mean([welch(Sample.of(a), Sample.of(b)).p <= 0.05 for a, b in studies])


@pytest.mark.parametrize(("std_a", "std_b", "n"), [(0.02, 0.02, 3), (0.02, 0.02, 5), (0.04, 0.01, 5)])
def test_the_detectable_difference_is_found_four_times_in_five(std_a, std_b, n):
    gap = detectable_difference(plan(std_a, std_b), n)
    assert 0.77 <= found(1, gap, std_a, std_b, n) <= 0.83


def test_the_seeds_needed_find_the_gap_and_two_fewer_do_not():
    n = seeds_needed(plan(0.02, 0.03), 0.03)
    assert found(2, 0.03, 0.02, 0.03, n) >= 0.78
    assert found(2, 0.03, 0.02, 0.03, n - 2) < 0.78


@some
@given(spread, st.integers(3, 40))
def test_with_one_std_it_is_the_one_sample_t(std, n):
    effect = TTestPower().solve_power(nobs=n, power=0.8, alpha=0.05)
    assert detectable_difference(plan(std, 0), n) == pytest.approx(std * effect, rel=1e-4)
    assert seeds_needed(plan(0, std), std * effect * 1.001) == n
    assert seeds_needed(plan(0, std), std * effect * 0.999) == n + 1


@pytest.mark.parametrize(("n", "tolerance"), [(10, 0.01), (40, 1e-3), (2000, 1e-4)])
def test_with_equal_stds_it_is_a_little_above_students_t(n, tolerance):
    gap = 0.02 * TTestIndPower().solve_power(nobs1=n, power=0.8, alpha=0.05)
    assert 1 - 1e-4 <= detectable_difference(plan(0.02, 0.02), n) / gap <= 1 + tolerance


@some
@given(spread, spread, st.integers(5, 80).map(lambda k: k / 1000))
def test_seeds_needed_is_the_least_n_and_free_of_sign_and_order(std_a, std_b, gap):
    n = seeds_needed(plan(std_a, std_b), gap)
    assert n == 3 or power_of(gap, plan(std_a, std_b), n - 1) < 0.8
    assert power_of(gap, plan(std_a, std_b), n) >= 0.8
    assert seeds_needed(plan(std_b, std_a), -gap) == n


def test_power_without_a_gap_is_the_tests_size_and_with_a_large_one_certain():
    assert power_of(0, plan(0.02, 0), 5) == pytest.approx(0.05, abs=1e-4)  # the one-sample t, exact
    for seed, stds in enumerate([(0.02, 0.02), (0.04, 0.01)]):
        assert power_of(0, plan(*stds), 5) == pytest.approx(found(seed, 0, *stds, 5), abs=0.015)
    for gap in (0.1 * 10**k for k in range(16)):
        assert power_of(gap, plan(1e-4, 0), 3) == pytest.approx(1)


def test_more_seeds_than_can_be_counted_are_none():
    assert seeds_needed(plan(0.02, 0.02), 0) is None
    assert seeds_needed(plan(0.02, 0.02), 1e-6) is None
    just = detectable_difference(plan(0.02, 0.02), MAX_SEEDS)
    assert seeds_needed(plan(0.02, 0.02), just * 1.00001) == MAX_SEEDS
    assert seeds_needed(plan(0.02, 0.02), just * 0.99999) is None


def test_without_a_std_there_is_nothing_to_plan_with():
    assert detectable_difference(plan(0, 0), 5) is None
    assert detectable_difference(plan(0.02, 0.02), 2) is None
    with pytest.raises(ValueError, match="nothing to plan with"):
        seeds_needed(plan(0, 0), 0.01)
    with pytest.raises(ValueError, match="nothing to plan with"):
        seeds_range(plan(0, 0), 0.01)
    assert std_interval(Sample.of([0.7] * 5)) is None
    assert std_interval(Sample(0.7, 0.02, 2)) is None


@pytest.mark.parametrize(("power", "alpha"), [(1, 0.05), (0.04, 0.05), (0.8, 0), (80, 0.05)])
def test_power_and_alpha_are_shares(power, alpha):
    with pytest.raises(ValueError, match="alpha < power"):
        seeds_needed(plan(0.02, 0.02), 0.01, power, alpha)
    with pytest.raises(ValueError, match="alpha < power"):
        detectable_difference(plan(0.02, 0.02), 5, power, alpha)


def test_std_interval_by_hand():
    # chi-square with 4 df: .484419 and 11.143287; .02 sqrt(4 / 11.143287) = .0119826, .02 sqrt(4 / .484419) = .0574711
    interval = std_interval(Sample(0.7, 0.02, 5))
    assert (interval.low, interval.high) == pytest.approx((0.0119826, 0.0574711), abs=2e-7)


def test_the_std_interval_covers_the_true_std():
    intervals = [std_interval(Sample.of(row)) for row in np.random.default_rng(3).normal(0.7, 0.02, (STUDIES, 5))]
    assert 0.93 <= np.mean([interval.low <= 0.02 <= interval.high for interval in intervals]) <= 0.97


def test_the_range_is_that_of_the_pooled_std():
    # equal n and stds: 8 df, 80 % between chi-square 3.489539 and 13.361566: factors .773775 and 1.514109 of the std
    row = plan(0.02, 0.02)
    low, high = (0.02 * by for by in (0.773775, 1.514109))
    assert seeds_range(row, 0.03) == (seeds_needed(plan(low, low), 0.03), seeds_needed(plan(high, high), 0.03))
    factors = np.sqrt(8 / stats.chi2.ppf([0.975, 0.025], 8))
    wide = tuple(seeds_needed(plan(0.02 * by, 0.02 * by), 0.03) for by in factors)
    assert seeds_range(row, 0.03, level=0.95) == wide


@some
@given(spread, spread, st.integers(3, 9), st.integers(3, 9))
def test_the_range_holds_the_plain_answer_and_narrows_with_seeds(std_a, std_b, n_a, n_b):
    plain = seeds_needed(plan(std_a, std_b), 0.02)
    low, high = seeds_range(plan(std_a, std_b, n_a, n_b), 0.02)
    later = seeds_range(plan(std_a, std_b, 10 * n_a, 10 * n_b), 0.02)
    assert low <= later[0] <= plain <= later[1] <= high


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((6, 6), "6"),
        ((6, 24), "6 to 24"),
        ((8749, None), "8,749 to more than 10,000"),
        ((None, None), "more than 10,000"),
    ],
)
def test_seeds_in_words(bounds, words):
    assert seeds_phrase(bounds) == words


def test_hours():
    # 6 trials of 20 minutes
    assert hours_for(6, 1200) == pytest.approx(2)
    for seeds, seconds in ((-1, 60), (5, -1), (5, math.nan)):
        with pytest.raises(ValueError, match="no hours"):
            hours_for(seeds, seconds)


def crossed_p(rng, gap, spread, n):
    """Two-sided p of STUDIES tests of a difference whose items vary too, by the variances that each study estimates:
    the larger one of the crossed test and of Welch's test over seeds."""
    of_a, of_b, floor = (
        variance * rng.chisquare(df, STUDIES) / df
        for variance, df in (
            (spread.std_a**2 / n, n - 1),
            (spread.std_b**2 / n, n - 1),
            (spread.floor, spread.floor_df),
        )
    )
    estimated = of_a + of_b + floor
    df = estimated**2 / ((of_a**2 + of_b**2) / (n - 1) + floor**2 / spread.floor_df)
    error = math.sqrt((spread.std_a**2 + spread.std_b**2) / n + spread.floor)
    found = np.abs(gap + error * rng.standard_normal(STUDIES))
    seeds_df = (of_a + of_b) ** 2 / ((of_a**2 + of_b**2) / (n - 1))
    return 2 * np.maximum(
        stats.t.sf(found / np.sqrt(estimated), df), stats.t.sf(found / np.sqrt(of_a + of_b), seeds_df)
    )


ON_NEW_TEXT = [(0.02, 0.02, 0.015, 138, 0.05), (0.03, 0.01, 0.01, 12, 0.05 / 9), (0.02, 0.02, 0.003, 138, 0.05 / 45)]


@pytest.mark.parametrize(("std_a", "std_b", "item_std", "df", "alpha"), ON_NEW_TEXT)
def test_on_new_text_the_planned_seeds_find_the_gap_at_the_corrected_level(std_a, std_b, item_std, df, alpha):
    spread = plan(std_a, std_b, floor=item_std**2, floor_df=df)
    rng = np.random.default_rng(7)
    for n in (3, 5, 20):
        gap = detectable_difference(spread, n, alpha=alpha)
        assert np.mean(crossed_p(rng, gap, spread, n) <= alpha) == pytest.approx(0.8, abs=0.03)
        assert seeds_needed(spread, gap * 1.0001, alpha=alpha) == n


@pytest.mark.parametrize(("std_a", "std_b", "item_std", "df", "alpha"), ON_NEW_TEXT)
def test_no_number_of_seeds_finds_less_than_the_items_allow(std_a, std_b, item_std, df, alpha):
    spread = plan(std_a, std_b, floor=item_std**2, floor_df=df)
    least = smallest_gap(spread, alpha=alpha)
    assert seeds_needed(spread, 0.99 * least, alpha=alpha) is None
    assert seeds_range(spread, 0.99 * least, alpha=alpha) == (None, None)
    assert seeds_needed(spread, 1.1 * least, alpha=alpha) is not None
    assert power_of(least, spread, MAX_SEEDS, alpha) == pytest.approx(0.8, abs=0.01)
    assert least < detectable_difference(spread, 100, alpha=alpha)


def test_on_these_items_any_gap_is_found_by_enough_seeds():
    assert smallest_gap(plan(0.02, 0.02)) == 0
    small = plan(0.02, 0.02, floor=1e-14, floor_df=500)
    assert detectable_difference(small, 5) == pytest.approx(detectable_difference(plan(0.02, 0.02), 5), rel=3e-3)


def test_rows_that_no_seed_moves_plan_with_their_items_alone():
    spread = plan(0, 0, floor=1e-4, floor_df=138)
    assert detectable_difference(spread, 5) == pytest.approx(smallest_gap(spread), rel=5e-3)
    assert seeds_range(spread, 0.2) == (3, 3)
