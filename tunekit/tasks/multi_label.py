"""Any number of C labels for each text: trained by binary cross-entropy, chosen by macro-F1.

A label is predicted where its probability reaches a threshold, which is the same for all labels. After each epoch the
threshold that maximises macro-F1 on validation is taken, for the test split of that epoch too. Without a validation
part it is 1/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.schema import Direction
from tunekit.tasks.base import TASKS, Constants, Metric, Task
from tunekit.tasks.label_counts import counts_of_label_sets, macro_f1, micro_f1

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Array = npt.NDArray[Any]

STEPS = 100
"""Thresholds are tried at 1/100, 2/100, ... 99/100."""


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over C labels of the binary cross-entropy (N,) of each example, for (N, C) logits and 0/1."""
    from torch.nn import functional as F

    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


def targets(labels: Array, constants: Constants) -> Array:
    """Return 0/1 labels (N, C), or logits, as float32."""
    import numpy as np

    return labels.astype(np.float32)


def probabilities(logits: Array) -> Array:
    """Return the probability of each label (N, C) in float64, without an overflow for any logit."""
    import numpy as np

    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def decided(labels: Array | None, logits: Array | None) -> Constants:
    """Return the threshold that maximises macro-F1 on validation; of equally good ones, the one nearest to 1/2.

    Without a validation part it is 1/2.
    """
    import numpy as np

    if labels is None or logits is None:
        return {"threshold": 0.5}
    thresholds = np.arange(1, STEPS) / STEPS
    shares = probabilities(logits)
    found = [macro_f1(counts_of_label_sets(labels, shares >= threshold)) for threshold in thresholds]
    best = max(range(len(thresholds)), key=lambda at: (found[at], -abs(thresholds[at] - 0.5)))
    return {"threshold": float(thresholds[best])}


def predicted(logits: Array, constants: Constants) -> Array:
    """Return which labels are predicted: 0/1 (N, C) int8."""
    import numpy as np

    return (probabilities(logits) >= constants["threshold"]).astype(np.int8)


def scores(labels: Array, logits: Array, constants: Constants, label_names: Sequence[str]) -> dict[str, float]:
    """Return mean binary cross-entropy, micro-F1, macro-F1 and average precision of (N, C) logits.

    F1 is at the threshold. Average precision, which needs no threshold, is the mean of scikit-learn's over the labels
    that some row has. A label that no row has or is predicted to have counts with F1 = 0.
    """
    import numpy as np
    import torch
    from sklearn.metrics import average_precision_score

    loss = float(binary_cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels).double()).mean())
    if not np.isfinite(loss):
        return {"loss": loss, "micro_f1": 0.0, "macro_f1": 0.0, "average_precision": 0.0}
    counts = counts_of_label_sets(labels, predicted(logits, constants))
    occurring = [place for place in range(labels.shape[1]) if labels[:, place].any()]
    precisions = [average_precision_score(labels[:, place], logits[:, place]) for place in occurring]
    return {
        "loss": loss,
        "micro_f1": float(micro_f1(counts)),
        "macro_f1": float(macro_f1(counts)),
        "average_precision": float(np.mean(precisions)) if precisions else 0.0,
    }


def answers(logits: Array, constants: Constants, label_names: Sequence[str]) -> dict[str, list[str]]:
    """Return the labels of each row, joined by ``|``, and the probability ``p_<label>`` of each label."""
    shares, found = probabilities(logits), predicted(logits, constants)
    return {
        "labels": ["|".join(name for name, has in zip(label_names, row, strict=True) if has) for row in found],
        **{f"p_{name}": [f"{share:.6f}" for share in own] for name, own in zip(label_names, shares.T, strict=True)},
    }


TASKS.register("multi_label")(
    Task(
        name="multi_label",
        head_class="ForSequenceClassification",
        metrics=(
            Metric(name="loss", label="loss", direction=Direction.MIN, bounds=(0.0, None)),
            Metric(name="micro_f1", label="micro-F1", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
            Metric(name="macro_f1", label="macro-F1", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
            Metric(
                name="average_precision",
                label="average precision",
                direction=Direction.MAX,
                unit="%",
                bounds=(0.0, 1.0),
            ),
        ),
        primary="macro_f1",
        reported=("micro_f1", "macro_f1", "average_precision"),
        loss=binary_cross_entropy,
        scores=scores,
        predicted=predicted,
        answers=answers,
        described="A text classifier with any of {count} labels for a text",
        reading=(
            'threshold, names = manifest["constants"]["threshold"], manifest["label_names"]',
            "shares = logits.sigmoid()[0].tolist()",
            'print("|".join(name for name, share in zip(names, shares) if share >= threshold), shares)',
        ),
        form="labels",
        problem_type="multi_label_classification",
        stored_as="float32",
        targets=targets,
        decided=decided,
    )
)
