"""F1 of several labels an item: counts by cluster, and intervals over new seeds and new items."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from analysis.predictions import bits_of
from analysis.statistics.new_text import SeedPredictions, difference, interval, variations
from tunekit.search.choosing import item_standard_error

every_score = pytest.mark.parametrize("name", ["micro_f1", "macro_f1"])


def drawn(rng, items, seeds=4, wrong=0.2):
    """Labels of three, the last of them rare, and runs that share what they find hard."""
    gold = (rng.random((items, 3)) < (0.5, 0.3, 0.08)).astype(np.int8)
    common = gold ^ (rng.random(gold.shape) < wrong)
    return gold, np.stack([common ^ (rng.random(gold.shape) < 0.05) for _ in range(seeds)]).astype(np.int8)


@every_score
def test_scores_are_those_of_scikit_learn(name):
    gold, predicted = drawn(np.random.default_rng(1), 90)
    (row,) = variations([SeedPredictions(gold, predicted, np.arange(90) // 2, 3)], name, draws=50)
    expected = [f1_score(gold, run, average=name.removesuffix("_f1"), zero_division=0) for run in predicted]
    assert row.scores == pytest.approx(expected)
    found = interval(row)
    assert found.low < row.scores.mean() < found.high


@pytest.mark.slow
@every_score
def test_the_variance_over_items_is_that_of_other_samples(name):
    rng = np.random.default_rng(2)

    def row_of(draws):
        gold, predicted = drawn(rng, 150)
        (row,) = variations([SeedPredictions(gold, predicted, np.arange(150), 3)], name, draws=draws)
        return row

    means = [row_of(draws=2).scores.mean() for _ in range(300)]
    widths = [np.sum(row.average**2) / row.divisor for row in (row_of(draws=400) for _ in range(12))]
    assert np.sqrt(np.mean(widths)) == pytest.approx(np.std(means), rel=0.25)


@every_score
def test_a_worse_row_is_found_worse(name):
    rng = np.random.default_rng(3)
    gold, predicted = drawn(rng, 300)
    worse = (predicted ^ (rng.random(predicted.shape) < 0.2)).astype(np.int8)
    found = difference(
        *variations([SeedPredictions(gold, runs, np.arange(300), 3) for runs in (predicted, worse)], name)
    )
    assert found.interval.low > 0


def test_labels_of_another_shape_are_refused():
    gold, predicted = drawn(np.random.default_rng(4), 20)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        SeedPredictions(2 * gold, predicted, np.arange(20), 3)
    with pytest.raises(ValueError, match="must be"):
        SeedPredictions(gold, predicted[..., :2], np.arange(20), 3)


def test_texts_are_bits():
    assert bits_of(np.array([["01", "10"], ["11", "00"]], dtype=object)).tolist() == [
        [[0, 1], [1, 0]],
        [[1, 1], [0, 0]],
    ]


@every_score
def test_a_search_knows_the_standard_error_over_items(name):
    gold, predicted = drawn(np.random.default_rng(5), 200, seeds=2)
    texts = [["".join(map(str, row)) for row in values.tolist()] for values in (gold, *predicted)]
    frames = [pd.DataFrame({"group_id": range(200), "gold": texts[0], "predicted": run}) for run in texts[1:]]
    found = item_standard_error(frames, name, num_labels=3)
    (row,) = variations([SeedPredictions(gold, predicted, np.arange(200), 3)], name)
    assert found == pytest.approx(np.sqrt(np.sum(row.average**2) / row.divisor), rel=0.2)
    with pytest.raises(ValueError, match="known for micro_f1, macro_f1, not for average_precision"):
        item_standard_error(frames, "average_precision", num_labels=3)
