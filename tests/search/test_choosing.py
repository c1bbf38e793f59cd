"""The choice and the standard error of a dev set."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.search.choosing import SCORES, Candidate, item_standard_error, pareto, select
from tunekit.tasks.classification import label_scores, matthews

candidates = st.lists(
    st.builds(Candidate, number=st.just(0), score=st.floats(0, 1), num_trainable_params=st.integers(1, 1000)),
    min_size=1,
).map(lambda found: [Candidate(n, one.score, one.num_trainable_params) for n, one in enumerate(found)])


@settings(deadline=None)
@given(candidates, st.floats(0, 0.5))
def test_the_1se_choice_is_the_cheapest_that_the_best_can_not_be_told_from(found, error):
    chosen = select(found, error)
    best, cheap = found[chosen.best], found[chosen.one_se]
    assert best.score == max(one.score for one in found)
    assert set(chosen.within) == {one.number for one in found if one.score >= best.score - error}
    assert {chosen.best, chosen.one_se} <= set(chosen.within)
    assert cheap.num_trainable_params == min(found[number].num_trainable_params for number in chosen.within)
    assert select(found, 0.0).best == chosen.best
    assert select(list(reversed(found)), error) == chosen


def test_nothing_is_chosen_from_nothing():
    with pytest.raises(ValueError, match="no configuration completed"):
        select([], 0.1)


def items(correct, groups=None):
    """Predictions of which the share ``correct`` of two balanced classes is right."""
    gold = np.arange(len(correct)) % 2
    predicted = np.where(correct, gold, 1 - gold)
    names = [str(n) for n in (range(len(correct)) if groups is None else groups)]
    return pd.DataFrame({"group_id": names, "gold": gold, "predicted": predicted, "logits": [[0.0, 0.0]] * len(gold)})


@pytest.mark.parametrize(("n", "share"), [(100, 0.8), (150, 0.6), (1000, 0.9)])
def test_accuracy_has_the_binomial_standard_error(n, share):
    correct = np.arange(n) < n * share
    found = item_standard_error([items(correct)], "accuracy", 2)
    assert found == pytest.approx(math.sqrt(share * (1 - share) / n), rel=0.06)
    assert item_standard_error([items(correct)], "accuracy", 2) == found


def test_items_of_one_group_count_as_one():
    correct = np.random.default_rng(1).random(60) < 0.7
    alone = item_standard_error([items(correct)], "accuracy", 2)
    twice = items(np.repeat(correct, 2), np.repeat(np.arange(60), 2))
    assert item_standard_error([twice], "accuracy", 2) == pytest.approx(alone, rel=0.06)
    assert item_standard_error([items(np.repeat(correct, 2))], "accuracy", 2) < 0.8 * alone


def test_seeds_that_agree_add_nothing_and_seeds_that_differ_average():
    one, other = (items(np.random.default_rng(seed).random(200) < 0.7) for seed in (1, 2))
    assert item_standard_error([one, one], "macro_f1", 2) == pytest.approx(item_standard_error([one], "macro_f1", 2))
    assert item_standard_error([one, other], "macro_f1", 2) < item_standard_error([one], "macro_f1", 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_scores_are_the_engine_s(pairs):
    gold, predicted = (np.array(values) for values in zip(*pairs, strict=True))
    confusion = np.zeros((1, 5, 5))
    np.add.at(confusion[0], (gold, predicted), 1)
    expected = label_scores(gold, predicted, 5)
    for metric in ("accuracy", "macro_f1"):
        assert SCORES[metric](confusion)[0] == pytest.approx(expected[metric])
    assert SCORES["mcc"](confusion)[0] == pytest.approx(matthews(gold, predicted))


def test_without_predictions_there_is_no_standard_error():
    with pytest.raises(ValueError, match="no validation predictions are stored"):
        item_standard_error([items(np.array([], bool))], "accuracy", 2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5)), min_size=1, max_size=12))
def test_the_front_holds_what_nothing_beats(values):
    directions = ("maximize", "minimize")
    front = pareto(values, directions)
    for n, (score, cost) in enumerate(values):
        beaten = any((s >= score and c <= cost) and (s > score or c < cost) for s, c in values)
        assert (n in front) is not beaten
