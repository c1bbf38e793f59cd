"""Scores from stored predictions are those of training; damage is named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from analysis.predictions import METRICS, aligned_predictions, confusion, per_class_f1, read_predictions
from tunekit.store.records import DamagedRecord
from tunekit.tasks.classification import label_scores


def frame(gold, predicted):
    ids = [f"i{n}" for n in range(len(gold))]
    return pd.DataFrame({"item_id": ids, "group_id": ids, "gold": gold, "predicted": predicted})


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_training(seed):
    rng = np.random.default_rng(seed)
    gold, predicted = rng.integers(0, 4, 50), rng.integers(0, 3, 50)
    trained = label_scores(gold, predicted, 5)
    for name in ("accuracy", "micro_f1", "macro_f1"):
        assert METRICS[name](gold, predicted, 5) == pytest.approx(trained[name], abs=1e-12)
    assert per_class_f1(gold, predicted, 5).mean() == pytest.approx(trained["macro_f1"])


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_metrics_are_scikit_learns(pairs):
    gold, predicted = (np.array(one) for one in zip(*pairs, strict=True))
    all_classes = {"labels": range(5), "zero_division": 0}
    for average in ("macro", "micro", "weighted"):
        expected = metrics.f1_score(gold, predicted, average=average, **all_classes)
        assert METRICS[f"{average}_f1"](gold, predicted, 5) == pytest.approx(expected)
    np.testing.assert_allclose(
        per_class_f1(gold, predicted, 5), metrics.f1_score(gold, predicted, average=None, **all_classes)
    )
    assert METRICS["mcc"](gold, predicted, 5) == pytest.approx(metrics.matthews_corrcoef(gold, predicted))
    assert (confusion(gold, predicted, 5) == metrics.confusion_matrix(gold, predicted, labels=range(5))).all()


@pytest.mark.parametrize(
    ("gold", "predicted", "said"), [([], [], "0 gold"), ([0], [0, 1], "as many"), ([0], [5], "lie in 0 to 4")]
)
def test_labels_that_are_none_of_the_classes_are_refused(gold, predicted, said):
    for score in (*METRICS.values(), per_class_f1, confusion):
        with pytest.raises(ValueError, match=said):
            score(np.array(gold, dtype=int), np.array(predicted, dtype=int), 5)


def test_runs_are_aligned_by_item():
    one = frame([0, 1, 1], [0, 1, 0])
    gold, predicted, _ = aligned_predictions([one, one.iloc[::-1]])
    assert gold.tolist() == [0, 1, 1]
    assert predicted.tolist() == [[0, 1, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="runs 1 and 2 have other gold labels"):
        aligned_predictions([one, frame([0, 0, 1], [0, 1, 0])])


def test_a_text_of_bytes_that_are_no_utf8_is_named(tmp_path):
    rows = frame([0, 1], [0, 1]).assign(item_id=["an item", "another"], split="test", epoch=1)
    path = tmp_path / "predictions.parquet"
    rows.astype({"gold": "int32", "predicted": "int32"}).to_parquet(path, compression=None)
    assert len(read_predictions(tmp_path, "test", 1)) == 2
    path.write_bytes(path.read_bytes().replace(b"an item", b"an\xffitem"))
    with pytest.raises(DamagedRecord, match=r"predictions\.parquet.*UTF8"):
        read_predictions(tmp_path, "test", 1)


def test_damaged_predictions_are_named(tmp_path):
    assert read_predictions(tmp_path, "test", 1) is None
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedRecord, match=r"predictions\.parquet"):
        read_predictions(tmp_path, "test", 1)
