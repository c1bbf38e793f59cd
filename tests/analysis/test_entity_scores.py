"""Scores of entities: counts by cluster, and intervals over new seeds and new texts."""

import numpy as np
import pandas as pd
import pytest
from seqeval import metrics

from analysis.predictions import read_predictions
from analysis.statistics.new_text import SeedPredictions, difference, interval, is_of_items, variations
from tunekit.search.choosing import item_standard_error
from tunekit.store.records import DamagedRecord

TYPES = ("LOC", "PER")
every_score = pytest.mark.parametrize("name", ["entity_f1", "precision", "recall", "f1_PER"])


def drawn(rng, texts, seeds=4, wrong=0.2):
    """Tags of texts of three words, whose entities have one word each, and runs that share what they find hard."""
    names = np.array(["O", "B-PER", "B-LOC"])
    gold = rng.choice(3, size=(texts, 3), p=(0.5, 0.3, 0.2))
    common = np.where(rng.random(gold.shape) < wrong, rng.choice(3, size=gold.shape), gold)
    runs = [np.where(rng.random(gold.shape) < 0.05, rng.choice(3, size=gold.shape), common) for _ in range(seeds)]
    texts_of = [np.array([" ".join(names[row]) for row in values], dtype=object) for values in (gold, *runs)]
    return texts_of[0], np.stack(texts_of[1:])


def row_of(gold, predicted, groups=None):
    return SeedPredictions(gold, predicted, np.arange(len(gold)) if groups is None else groups, 2, TYPES)


def seqevals(name, gold, predicted):
    gold, predicted = ([tags.split(" ") for tags in values] for values in (gold, predicted))
    if name.startswith("f1_"):
        report = metrics.classification_report(gold, predicted, output_dict=True, zero_division=0)
        return report[name.removeprefix("f1_")]["f1-score"]
    score = {"entity_f1": metrics.f1_score, "precision": metrics.precision_score, "recall": metrics.recall_score}[name]
    return score(gold, predicted)


@every_score
def test_scores_are_those_of_seqeval(name):
    gold, predicted = drawn(np.random.default_rng(1), 90)
    (row,) = variations([row_of(gold, predicted, np.arange(90) // 2)], name, draws=50)
    assert row.scores == pytest.approx([seqevals(name, gold, run) for run in predicted])
    found = interval(row)
    assert found.low < row.scores.mean() < found.high
    assert is_of_items(name)


@pytest.fixture(scope="module")
def samples():
    """Draws of 150 texts each."""
    rng = np.random.default_rng(2)
    return [row_of(*drawn(rng, 150)) for _ in range(132)]


@pytest.mark.slow
@every_score
def test_the_variance_over_items_is_that_of_other_samples(samples, name):
    means = [np.mean(variations([one], name, draws=2)[0].scores) for one in samples[:120]]
    widths = []
    for one in samples[120:]:
        (row,) = variations([one], name, draws=400)
        widths.append(np.sum(row.average**2) / row.divisor)
    assert np.sqrt(np.mean(widths)) == pytest.approx(np.std(means), rel=0.25)


@every_score
def test_a_worse_row_is_found_worse(name):
    rng = np.random.default_rng(3)
    gold, predicted = drawn(rng, 300)
    worse = predicted.copy()
    worse[rng.random(predicted.shape) < 0.3] = "O B-LOC B-PER"
    found = difference(*variations([row_of(gold, runs) for runs in (predicted, worse)], name))
    assert found.interval.low > 0


@pytest.mark.parametrize("name", ["entity_f1", "precision", "recall"])
def test_a_search_knows_the_standard_error_over_items(name):
    gold, predicted = drawn(np.random.default_rng(5), 200, seeds=2)
    frames = [pd.DataFrame({"group_id": range(200), "gold": gold, "predicted": run}) for run in predicted]
    found = item_standard_error(frames, name, num_labels=0)
    (row,) = variations([row_of(gold, predicted)], name)
    assert found == pytest.approx(np.sqrt(np.sum(row.average**2) / row.divisor), rel=0.2)
    with pytest.raises(ValueError, match="known for entity_f1, precision, recall, not for accuracy"):
        item_standard_error(frames, "accuracy", num_labels=0)


def test_accuracy_of_words_has_no_interval_over_texts():
    gold, predicted = drawn(np.random.default_rng(6), 50)
    with pytest.raises(ValueError, match="accuracy is no score of single items"):
        variations([row_of(gold, predicted)], "accuracy")


def test_predictions_that_are_no_tags_are_damaged(tmp_path):
    frame = pd.DataFrame(
        {
            "split": "test", "epoch": np.int32(1), "item_id": ["a", "b"], "group_id": ["a", "b"],
            "gold": ["O B-X", "O"], "predicted": ["O O", "B-X"],
        }
    )  # fmt: skip
    frame.to_parquet(tmp_path / "predictions.parquet")
    assert len(read_predictions(tmp_path, "test", 1, form="tags")) == 2
    for wrong in (["O", "O"], ["O X", "O"]):
        frame.assign(predicted=wrong).to_parquet(tmp_path / "predictions.parquet")
        with pytest.raises(DamagedRecord, match="not as many tags"):
            read_predictions(tmp_path, "test", 1, form="tags")
