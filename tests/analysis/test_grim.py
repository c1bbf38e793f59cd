"""GRIM against brute force over all counts of right answers, and over the study's accuracies."""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from itertools import combinations_with_replacement, product
from statistics import pstdev

import pytest

from analysis.claims.published import register
from analysis.statistics.grim import Fit, grim

MODES = (ROUND_HALF_UP, ROUND_HALF_EVEN)


def both(value, decimals):
    return {value.quantize(Decimal(1).scaleb(-decimals), mode) for mode in MODES}


@pytest.mark.parametrize(("items", "runs", "decimals"), [(3, 2, 1), (7, 3, 1), (8, 2, 1), (16, 2, 1), (6, 1, 0)])
def test_agrees_with_trying_every_run(items, runs, decimals):
    direct, rounded = set(), set()
    for right in combinations_with_replacement(range(items + 1), runs):
        exact = [Decimal(100 * k) / items for k in right]
        direct |= both(Decimal(100 * sum(right)) / (items * runs), decimals)
        for chosen in product(*(both(value, decimals) for value in exact)):
            rounded |= both(sum(chosen) / runs, decimals)
    values = [Decimal(i).scaleb(-decimals) for i in range(100 * 10**decimals + 1)]
    for value in values:
        expected = Fit.FITS if value in direct else Fit.ROUNDED_RUNS if value in rounded else Fit.MISFIT
        assert grim(value, items, runs, decimals).verdict is expected, value
    result = grim(values[0], items, runs, decimals)
    assert result.chance == pytest.approx(len(direct) / len(values))
    assert result.chance_rounded == pytest.approx(len(direct | rounded) / len(values))


@pytest.mark.slow
def test_of_the_study_only_the_adapter_on_restaurant_does_not_fit_directly():
    odd = {
        (score.method, score.dataset, str(score.mean)): grim(score.mean, score.items, score.n).verdict
        for score in register()
        if score.metric == "accuracy" and grim(score.mean, score.items, score.n).verdict is not Fit.FITS
    }
    assert odd == {("adapter", "restaurant", "86.35"): Fit.ROUNDED_RUNS}


def test_no_five_rounded_runs_have_the_adapters_mean_and_its_std():
    """The mean alone allows rounded runs; runs further from it than these would have a std above 0.14."""
    rounded = [(Decimal(100 * k) / 1120).quantize(Decimal("0.01"), ROUND_HALF_UP) for k in range(959, 977)]
    fives = [
        five
        for five in combinations_with_replacement(rounded, 5)
        if (sum(five) / 5).quantize(Decimal("0.01"), ROUND_HALF_UP) == Decimal("86.35")
    ]
    assert fives
    assert min(map(pstdev, fives)) > Decimal("0.49")


def test_neighbours_of_the_adapters_mean_fit():
    assert {grim(Decimal(text), 1120, 5).verdict for text in ("86.34", "86.36")} == {Fit.FITS}


def test_how_much_a_fit_says():
    acl, restaurant = grim(Decimal("77.70"), 139, 5), grim(Decimal("86.35"), 1120, 5)
    assert acl.chance == pytest.approx(696 / 10_001)  # 0 to 695 right answers, no two printed alike, no ties
    assert acl.chance < acl.chance_rounded < 0.13
    assert restaurant.chance_rounded > 0.99  # "only if runs were rounded" is next to no news there


def test_a_single_run_is_not_helped_by_rounding_it():
    assert grim(Decimal("77.71"), 139, 1).verdict is Fit.MISFIT
    assert grim(Decimal("77.70"), 139, 1).verdict is Fit.FITS  # 108 of 139
    assert grim(Decimal("77.70"), 139, 1).chance == grim(Decimal("77.70"), 139, 1).chance_rounded


def test_many_answers_fit_everything():
    assert grim(Decimal("86.35"), 7600, 5).chance == 1


@pytest.mark.parametrize(
    ("mean", "items", "runs", "decimals"),
    [("100.01", 10, 5, 2), ("-1", 10, 5, 2), ("50.123", 10, 5, 2), ("50", 0, 5, 2), ("50", 10, 0, 2), ("50", 9, 5, 7)],
)
def test_refuses_what_is_not_a_printed_percentage(mean, items, runs, decimals):
    with pytest.raises(ValueError, match=r"GRIM needs|is not a percentage"):
        grim(Decimal(mean), items, runs, decimals)
