"""Scores of numbers under weights of the items, and their intervals and tests over new seeds and new items."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import root_mean_squared_error

from analysis.statistics.new_text import SeedPredictions, difference, interval, variations
from tunekit.search.choosing import item_standard_error
from tunekit.tasks.number_scores import NUMBER_SCORES

EXPECTED = {
    "pearson": lambda gold, found: stats.pearsonr(gold, found)[0],
    "spearman": lambda gold, found: stats.spearmanr(gold, found)[0],
    "rmse": root_mean_squared_error,
}
every_score = pytest.mark.parametrize("name", list(NUMBER_SCORES))


def drawn(rng, items, seeds=4, noise=1.0, shift=0.0):
    """Targets with ties, and the predictions of ``seeds`` runs that share what they find hard."""
    gold = np.round(rng.normal(size=items), 1)
    common = gold + noise * rng.normal(size=items) + shift
    return gold, common + 0.3 * noise * rng.normal(size=(seeds, items)) + 0.05 * rng.normal(size=(seeds, 1))


@every_score
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_weights_are_repetitions(name, offset):
    rng = np.random.default_rng(1)
    gold, predicted = drawn(rng, 60)
    cluster = np.arange(60) // 2
    weights = rng.integers(0, 4, size=(5, 30)).astype(float)
    found = NUMBER_SCORES[name](weights, gold + offset, predicted + offset, cluster)
    for draw, row in zip(weights, found, strict=True):
        repeated = np.repeat(np.arange(60), draw[cluster].astype(int))
        expected = [EXPECTED[name](gold[repeated], run[repeated]) for run in predicted]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-6 if offset else 1e-12)


@every_score
def test_equal_predictions_have_no_correlation(name):
    found = NUMBER_SCORES[name](np.ones((1, 9)), np.arange(9.0), np.full((1, 9), 0.1 + 0.2), np.arange(9))
    assert found[0, 0] == pytest.approx(
        root_mean_squared_error(np.arange(9.0), np.full(9, 0.3)) if name == "rmse" else 0
    )


@pytest.mark.slow
@every_score
def test_the_variance_over_items_is_that_of_other_samples(name):
    rng = np.random.default_rng(2)
    means = []
    for _ in range(400):
        gold, predicted = drawn(rng, 150)
        means.append(np.mean([EXPECTED[name](gold, run) for run in predicted]))
    widths = []
    for _ in range(12):
        gold, predicted = drawn(rng, 150)
        runs = SeedPredictions(gold, predicted, np.arange(150), 0)
        (row,) = variations([runs], name, draws=500)
        assert row.scores == pytest.approx([EXPECTED[name](gold, run) for run in predicted])
        widths.append(np.sum(row.average**2) / row.divisor)
    assert np.sqrt(np.mean(widths)) == pytest.approx(np.std(means), rel=0.2)


@every_score
def test_what_both_rows_find_hard_cancels_in_their_difference(name):
    rng = np.random.default_rng(3)
    gold, predicted = drawn(rng, 200)
    worse = predicted + 0.4 * rng.normal(size=predicted.shape)
    rows = variations([SeedPredictions(gold, runs, np.arange(200), 0) for runs in (predicted, worse)], name)
    alone = [interval(row) for row in rows]
    found = difference(*rows)
    assert (found.difference > 0) == (name != "rmse")
    assert found.interval.high - found.interval.low < sum(one.high - one.low for one in alone) / 2
    assert found.test == "crossed bootstrap"


def test_rows_of_other_items_are_refused():
    rng = np.random.default_rng(4)
    rows = [SeedPredictions(*drawn(rng, 20), np.arange(20), 0) for _ in range(2)]
    with pytest.raises(ValueError, match="not scored on the same items"):
        variations(rows, "pearson")


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_search_knows_the_standard_error_over_items(name):
    rng = np.random.default_rng(5)
    gold, predicted = drawn(rng, 150, seeds=2)
    frames = [pd.DataFrame({"group_id": np.arange(150), "gold": gold, "predicted": run}) for run in predicted]
    found = item_standard_error(frames, name, num_labels=1)
    (row,) = variations([SeedPredictions(gold, predicted, np.arange(150), 0)], name)
    assert found == pytest.approx(np.sqrt(np.sum(row.average**2) / row.divisor), rel=0.15)
