"""Scores of counts are scikit-learn's, to the last bit: records of before and after scikit-learn was left agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from tunekit.tasks.classification import label_scores
from tunekit.tasks.label_counts import counts_of_label_sets, f1_of, macro_f1, micro_f1

LABELS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=200)


@pytest.mark.slow
@settings(deadline=None)
@given(LABELS)
def test_one_label_an_item(pairs):
    gold, predicted = (np.array(one) for one in zip(*pairs, strict=True))
    options = {"labels": range(7), "zero_division": 0}
    assert label_scores(gold, predicted, 7) == {
        "accuracy": metrics.accuracy_score(gold, predicted),
        "micro_f1": metrics.f1_score(gold, predicted, average="micro", **options),
        "macro_f1": metrics.f1_score(gold, predicted, average="macro", **options),
    }


@pytest.mark.slow
@settings(deadline=None)
@given(arrays.arrays(np.int8, st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 6)), elements=st.integers(0, 1)))
def test_several_labels_an_item(pair):
    gold, predicted = pair
    counts = counts_of_label_sets(gold, predicted)
    several = gold.shape[1] > 1  # scikit-learn takes one column for two classes
    options = {"zero_division": 0, **({} if several else {"labels": [1]})}
    shaped = (gold, predicted) if several else (gold[:, 0], predicted[:, 0])
    assert f1_of(counts).tolist() == metrics.f1_score(*shaped, average=None, **options).tolist()
    assert micro_f1(counts) == metrics.f1_score(*shaped, average="micro", **options)
    assert macro_f1(counts) == metrics.f1_score(*shaped, average="macro", **options)
