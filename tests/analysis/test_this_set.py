"""Statistics over seeds: hand-worked and scipy's values, what can't be tested, properties."""

import math
from dataclasses import asdict
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.permutation import (
    MAX_ARRANGEMENTS,
    least_sign_flip_p,
    least_split_p,
    paired,
    permutation_p,
)
from analysis.statistics.this_set import (
    WELCH,
    Difference,
    Interval,
    Sample,
    Spread,
    TTest,
    mean_interval,
    welch,
)
from tunekit.errors import UserError

BERT, ROBERTA = Sample(0.8345, 0.0064, 5), Sample(0.8602, 0.0060, 5)
FIVE = (0.60, 0.62, 0.64, 0.66, 0.68)
score = st.integers(0, 1000).map(lambda k: k / 1000)
row = st.lists(score, min_size=3, max_size=6)
hits = st.integers(95, 110)  # of ACL-ARC's 139 test items: full of ties
some = settings(max_examples=50, deadline=None)


def numbers(result):
    """All numbers of a result, nested ones too."""
    if isinstance(result, dict):
        return [number for value in result.values() for number in numbers(value)]
    return [result] if isinstance(result, float | int) else []


# --- worked values


def test_a_sample_is_mean_and_sample_std():
    # deviations -.04 -.02 0 .02 .04: squares sum to .004, over n - 1 = 4 gives .001
    sample = Sample.of(FIVE)
    assert (sample.n, sample.values) == (5, FIVE)
    assert sample.mean == pytest.approx(0.64)
    assert sample.std == pytest.approx(math.sqrt(0.001))
    assert Sample.of([0.5]).std is None
    assert Sample.of([0.1 + 0.2] * 7).std == 0


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [0.5, math.inf]])
def test_no_sample_of_nothing_or_of_what_is_not_finite(values):
    with pytest.raises(ValueError, match="at least one score, all finite"):
        Sample.of(values)


@pytest.mark.parametrize(
    "fields",
    [(0.5, 0.1, 1), (0.5, None, 0), (0.5, -0.1, 5), (0.5, math.nan, 5), (math.nan, 0.1, 5), (0.5, 0.1, 3, (0.5, 0.6))],
)
def test_a_sample_does_not_contradict_itself(fields):
    with pytest.raises(ValueError, match="a sample"):
        Sample(*fields)


def test_mean_interval():
    # t(0.975, 4) = 2.776445; standard error sqrt(.001 / 5) = .0141421; half width .0392648
    interval = mean_interval(Sample.of(FIVE))
    assert (interval.low, interval.high) == pytest.approx((0.64 - 0.0392648, 0.64 + 0.0392648), abs=1e-7)
    assert interval.level == 0.95


def test_welch_by_hand_on_published_rows():
    # variances of the means .36/5 = .072 and .4096/5 = .08192 points^2, together .15392; t = 2.57 / .392326 = 6.5507;
    # df = .15392^2 / (.072^2 / 4 + .08192^2 / 4) = .0236914 / .0029737 = 7.967
    comparison = welch(ROBERTA, BERT)
    assert comparison.difference == pytest.approx(0.0257)
    assert comparison.tests[0].df == pytest.approx(7.967, abs=5e-4)
    assert comparison.p == pytest.approx(2 * stats.t.sf(6.5507, 7.967), rel=1e-3)
    assert comparison.interval.low == pytest.approx(0.0257 - stats.t.ppf(0.975, 7.967) * 0.00392326, abs=1e-6)
    assert comparison.test == WELCH


def test_permutation_by_hand():
    # C(6, 3) = 20 splits; {1, 2, 3} alone has so small a sum, and its mirror image: 2 / 20
    assert permutation_p([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)
    # {1, 2, 3} and {1, 2, 4} have sums up to 7: 2 * 2 / 20
    assert permutation_p([1, 2, 4], [3, 5, 6]) == pytest.approx(4 / 20)
    # C(7, 3) = 35, twice the smaller tail though the other tail ends elsewhere
    assert permutation_p([1, 2, 3], [4, 5, 6, 7]) == pytest.approx(2 / 35)


@pytest.mark.parametrize(("offset", "unit"), [(0, 1), (0.7, 1), (300, 1), (0, 1e-13)])
def test_equal_sums_are_ties_whatever_floats_make_of_them(offset, unit):
    # .1 + .2 + .3 with either of the two .3: 2 splits of 20 as small, so 2 * 2 / 20
    a, b = ([offset + unit * k / 10 for k in values] for values in ((1, 2, 3), (3, 4, 5)))
    assert permutation_p(a, b) == pytest.approx(4 / 20)


def test_sign_flips_by_hand():
    # differences 3, 1, -1, sum 3; sums of the 8 sign patterns: 5 3 3 1 -1 -3 -3 -5; 3 of 8 are >= 3, twice that .75
    result = paired({1: 5.0, 2: 4.0, 3: 2.0}, {1: 2.0, 2: 3.0, 3: 3.0})
    assert result.sign_flip_p == pytest.approx(0.75)
    assert (result.difference, result.n) == (pytest.approx(1), 3)
    # mean 1, std 2: t = 1 / (2 / sqrt 3) = .866 with 2 df
    assert result.p == pytest.approx(2 * stats.t.sf(math.sqrt(3) / 2, 2))
    # deviations 4/3 1/3 -5/3 and -2/3 1/3 1/3: products sum to -12/9, squares to 42/9 and 6/9: -12 / sqrt(252)
    assert result.correlation == pytest.approx(-12 / math.sqrt(252))


def test_pairs_are_those_of_common_seeds():
    a, b = {3: 0.63, 1: 0.6, 2: 0.65, 9: 0.1}, {1: 0.5, 2: 0.61, 3: 0.6, 7: 0.9}
    result = paired(a, b)
    expected = stats.ttest_rel([0.6, 0.65, 0.63], [0.5, 0.61, 0.6])
    assert (result.n, result.p) == (3, pytest.approx(float(expected.pvalue)))
    assert result.interval == Interval(*map(float, expected.confidence_interval()), 0.95)
    assert paired(a, {1: 0.5, 2: 0.6, 8: 0.7}) is None


@pytest.mark.parametrize(("n_a", "n_b"), [(3, 3), (3, 6), (5, 5), (10, 9), (15, 15)])
def test_the_smallest_p_is_reached_by_rows_apart(n_a, n_b):
    """Twice one tail, also where n_a and n_b differ; beyond ``MAX_ARRANGEMENTS`` arrangements some are drawn."""
    counts = {"permutation": math.comb(n_a + n_b, n_a), "sign-flip": 2 ** min(n_a, n_b)}
    floors = {test: 2 / min(count, MAX_ARRANGEMENTS + 1) for test, count in counts.items()}
    a, b = {k: k / 100 for k in range(n_a)}, {k: 0.5 + k**2 / 1000 for k in range(n_b)}
    assert permutation_p(list(a.values()), list(b.values())) == pytest.approx(floors["permutation"])
    assert paired(a, b).sign_flip_p == pytest.approx(floors["sign-flip"])


# --- what can't be tested


@pytest.mark.parametrize("other", [Sample.of([0.9] * 5), Sample(0.9, 0.0, 5), Sample.of([0.3, 0.1 + 0.2] * 3)])
def test_nothing_varies_so_no_t(other):
    same = Sample.of([0.3] * 5)
    assert mean_interval(same) is None
    assert mean_interval(other) is None
    assert welch(same, other) is None


def test_one_row_without_spread_is_tested_by_the_other():
    # the whole error is one row's: its df and its one-sample t
    comparison = welch(Sample.of(FIVE), Sample.of([0.7] * 4))
    expected = stats.ttest_1samp(FIVE, 0.7)
    assert (comparison.tests[0].df, comparison.p) == (pytest.approx(4), pytest.approx(float(expected.pvalue)))


def test_permutations_answer_where_nothing_varies_within_rows():
    assert permutation_p([0.3] * 5, [0.9] * 5) == pytest.approx(2 / 252)
    assert permutation_p([0.3] * 5, [0.1 + 0.2] * 5) == 1


def test_pairs_whose_difference_does_not_vary_say_nothing():
    a = dict(enumerate(FIVE))
    assert paired(a, {seed: value - 0.1 for seed, value in a.items()}) is None
    assert paired(a, dict.fromkeys(a, 0.5)).correlation is None


@pytest.mark.parametrize("few", [Sample(0.5, 0.1, 2), Sample(0.5, None, 1), Sample(0.5, None, 5)])
def test_below_three_seeds_or_without_a_std_nothing_is_said(few):
    assert mean_interval(few) is None
    assert welch(few, BERT) is None
    assert welch(BERT, few) is None
    assert permutation_p([0.1, 0.2], FIVE) is None


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match="not an interval|between 0 and 1"):
        mean_interval(BERT, level)


@pytest.mark.parametrize("margin", [0, -0.01, math.nan])
def test_an_equivalence_needs_a_margin(margin):
    with pytest.raises(UserError, match="give one above 0"):
        welch(BERT, ROBERTA).equivalence(margin)


# --- properties


@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy says so of a row that does not vary
@some
@given(row, row, st.integers(-500, 500), st.sampled_from([0.001, 0.5, 100.0]))
def test_welch_is_scipys_antisymmetric_and_free_of_origin_and_unit(first, second, shift, unit):
    a, b = Sample.of(first), Sample.of(second)
    assume(max(a.std, b.std) > 0)
    comparison, mirrored = welch(a, b), welch(b, a)
    expected = stats.ttest_ind(first, second, equal_var=False)
    bounds = expected.confidence_interval()
    for mine, theirs in (
        ((comparison.p, comparison.tests[0].df), (expected.pvalue, expected.df)),
        ((comparison.interval.low, comparison.interval.high), (bounds.low, bounds.high)),
    ):
        assert mine == pytest.approx(tuple(map(float, theirs)), rel=1e-6, abs=1e-9)
    assert (mirrored.p, mirrored.difference) == (comparison.p, -comparison.difference)
    assert (mirrored.interval.low, mirrored.interval.high) == pytest.approx(
        (-comparison.interval.high, -comparison.interval.low)
    )
    moved = welch(*(Sample.of(unit * (value + shift / 100) for value in values) for values in (first, second)))
    assert (moved.p, moved.tests[0].df) == pytest.approx((comparison.p, comparison.tests[0].df), rel=1e-6, abs=1e-9)
    assert moved.difference == pytest.approx(unit * comparison.difference, abs=1e-9)


@pytest.mark.slow
@some
@given(*[st.lists(hits, min_size=3, max_size=6)] * 2, st.randoms(use_true_random=False))
def test_permutation_is_every_split_counted_in_whole_numbers(a, b, random):
    first, second = ([k / 139 for k in hit] for hit in (a, b))
    p, pooled = permutation_p(first, second), a + b
    n, total = len(first), sum(pooled)
    gaps = [len(pooled) * sum(part) - n * total for part in combinations(pooled, n)]  # the gap times a constant
    tails = sum(gap >= gaps[0] for gap in gaps), sum(gap <= gaps[0] for gap in gaps)
    assert p == pytest.approx(min(1, 2 * min(tails) / len(gaps)))
    assert p >= 2 / math.comb(len(pooled), n)
    assert permutation_p(random.sample(second, len(second)), random.sample(first, n)) == p


@some
@given(st.lists(st.tuples(hits, hits), min_size=3, max_size=6))
def test_sign_flips_are_every_pattern_counted_in_whole_numbers(pairs):
    a, b = ({seed: pair[at] / 139 for seed, pair in enumerate(pairs)} for at in (0, 1))
    differences = [one - other for one, other in pairs]
    assume(len(set(differences)) > 1)
    sums = [int(np.dot(signs, differences)) for signs in product((1, -1), repeat=len(pairs))]
    tails = sum(value >= sums[0] for value in sums), sum(value <= sums[0] for value in sums)
    assert paired(a, b).sign_flip_p == pytest.approx(min(1, 2 * min(tails) / len(sums)))


def test_drawn_splits_are_near_the_exact_p_and_free_of_order():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.1, 1, 12), rng.normal(0.9, 1, 12)
    assert math.comb(24, 12) > MAX_ARRANGEMENTS
    p = permutation_p(list(a), list(b))
    # at 12 against 12 of equal spread the permutation p is close to Student's
    assert p == pytest.approx(float(stats.ttest_ind(a, b).pvalue), abs=0.01)
    assert p == permutation_p(list(b[::-1]), list(a))


@some
@given(row, row, st.integers(1, 200).map(lambda k: k / 1000))
def test_rows_are_equivalent_where_the_90_percent_interval_lies_within_the_margin(first, second, margin):
    a, b = Sample.of(first), Sample.of(second)
    assume(max(a.std, b.std) > 0)
    p, interval = welch(a, b).equivalence(margin), welch(a, b, level=0.9).interval
    reach = max(-interval.low, interval.high)
    assume(abs(reach - margin) > 1e-9)
    assert (p < 0.05) == (reach < margin)
    assert p == pytest.approx(welch(b, a).equivalence(margin))


@pytest.mark.slow
@some
@given(st.lists(st.sampled_from([0.0, 0.3, 0.1 + 0.2, 1e-9, 1.0]), min_size=3, max_size=5), row)
def test_no_number_is_ever_nan(degenerate, other):
    a, b = Sample.of(degenerate), Sample.of(other)
    pairs = paired(dict(enumerate(degenerate)), dict(enumerate(other)))
    compared = welch(a, b)
    intervals = (mean_interval(a), compared and compared.interval)
    results = [asdict(result) for result in (*intervals, compared, pairs) if result]
    found = numbers({"results": dict(enumerate(results)), "p": permutation_p(degenerate, other)})
    found += [compared.p, compared.equivalence(0.01)] if compared else []
    assert found
    assert all(map(math.isfinite, found))


def test_a_test_for_new_text_is_never_surer_than_the_test_over_its_seeds_and_is_named():
    spread = Spread(0.02, 0.02, 3, 3, floor=1e-5, floor_df=100)
    seeds, narrow, wide = TTest(WELCH, 0.017, 4.0), TTest("crossed", 0.018, 40.0), TTest("crossed", 0.1, 40.0)
    alone, both = Difference(0.05, (seeds,), spread), Difference(0.05, (narrow, seeds), spread)
    assert both.p == max(alone.p, Difference(0.05, (narrow,), spread).p) == alone.p
    assert both.interval == alone.interval
    assert both.test == WELCH
    other = Difference(0.05, (wide, seeds), spread)
    assert (other.p, other.test) == (Difference(0.05, (wide,), spread).p, "crossed")
    assert other.interval.high > both.interval.high


@pytest.mark.parametrize(("n_a", "n_b", "least"), [(3, 3, 0.1), (4, 4, 2 / 70), (5, 5, 2 / 252), (3, 5, 2 / 56)])
def test_the_smallest_permutation_p_is_that_of_rows_without_overlap(n_a, n_b, least):
    a, b = [0.1 + 0.001 * n for n in range(n_a)], [0.9 + 0.002 * n for n in range(n_b)]
    assert permutation_p(a, b) == pytest.approx(least)
    assert least_split_p(n_a, n_b) == pytest.approx(least)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_smallest_sign_flip_p_is_that_of_differences_of_one_sign(n):
    a, b = ({seed: start + 0.001 * seed**2 * by for seed in range(n)} for start, by in ((0.1, 1), (0.9, 2)))
    assert paired(a, b).sign_flip_p == pytest.approx(2 / 2**n) == pytest.approx(least_sign_flip_p(n))


def test_the_smallest_p_of_drawn_arrangements_is_that_of_the_draws():
    a, b = [0.1 + 0.001 * n for n in range(12)], [0.9 + 0.001 * n for n in range(12)]
    assert permutation_p(a, b) == pytest.approx(least_split_p(12, 12)) == pytest.approx(2 / (MAX_ARRANGEMENTS + 1))
