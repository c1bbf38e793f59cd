"""Tasks beside classification from a notebook: a DataFrame declares its task, and results ask it."""

import numpy as np
import pandas as pd
import pytest

import tunekit as tk
from tests.support.trials import specify

WORDS = {"awful": -2.0, "poor": -1.0, "fine": 1.0, "superb": 2.0}
ROWS = pd.DataFrame(
    {
        "review": [f"room {n} was {word}" for n in range(20) for word in WORDS],
        "score": [gain for _ in range(20) for gain in WORDS.values()],
        "bad": [int(gain < 0) for _ in range(20) for gain in WORDS.values()],
        "very": [int(abs(gain) > 1) for _ in range(20) for gain in WORDS.values()],
    }
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "metric", "caption"),
    [
        ({"label": "score", "task": "regression"}, "rmse", "Pearson's r (test, last epoch)"),
        (
            {"label": ["bad", "very"], "task": "multi_label"},
            "average_precision",
            "Macro-F1 (percent, test, last epoch)",
        ),
    ],
)
def test_a_frame_is_trained_and_shown_by_its_task(options, metric, caption, tmp_path):
    data = tk.dataset(ROWS, text="review", **options)
    spec = specify(dataset=data.name, method="full", epochs=2, train_limit=None, learning_rate=5e-3)
    results = tk.train(spec, tmp_path / "sweep", data=data)
    assert results.table().spec.caption.startswith(caption)
    assert metric in results.table(metric).spec.stem.replace("-", "_")
    epochs = results.epochs
    assert np.isfinite(epochs[[f"val_{metric}", f"test_{metric}"]].to_numpy(float)).all()
    assert results.trials[f"test_{metric}"].iloc[0] == epochs[f"test_{metric}"].iloc[-1]
    figure = results.curves(data.name, metric)
    assert figure.axes[0].get_ylabel().startswith("Test ")
    with pytest.raises(tk.UserError, match=r"there is no metric 'accuracy' \(there are "):
        results.table("accuracy")
    pages = results.report(tmp_path / "out")
    assert all(page.stat().st_size > 1000 for page in pages)
