"""Scores from stored predictions are those of training; damage is named."""

import numpy as np
import pandas as pd
import pytest

from analysis.predictions import METRICS, aligned_predictions, per_class_f1, read_predictions
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


def test_runs_are_aligned_by_item():
    one = frame([0, 1, 1], [0, 1, 0])
    gold, predicted, _ = aligned_predictions([one, one.iloc[::-1]])
    assert gold.tolist() == [0, 1, 1]
    assert predicted.tolist() == [[0, 1, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="runs 1 and 2 have other gold labels"):
        aligned_predictions([one, frame([0, 0, 1], [0, 1, 0])])


def test_damaged_predictions_are_named(tmp_path):
    assert read_predictions(tmp_path, "test", 1) is None
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedRecord, match=r"predictions\.parquet"):
        read_predictions(tmp_path, "test", 1)
