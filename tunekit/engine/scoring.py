"""Scores of predicted labels, by scikit-learn, always over the dataset's full label set."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score


def scores(gold: np.ndarray, predicted: np.ndarray, num_labels: int) -> dict[str, float]:
    """Accuracy, micro-F1 and macro-F1 in [0, 1] of integer labels ``gold`` and ``predicted``, each (N,).

    A label that is neither in gold nor predicted counts with F1 = 0, so that no run is scored on fewer classes.
    """
    labels = range(num_labels)
    return {
        "accuracy": float(accuracy_score(gold, predicted)),
        "micro_f1": float(f1_score(gold, predicted, labels=labels, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(gold, predicted, labels=labels, average="macro", zero_division=0)),
    }
