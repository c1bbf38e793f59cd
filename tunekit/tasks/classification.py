"""Classification: one label of C for each text, trained by cross-entropy, chosen by macro-F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.schema import Direction
from tunekit.tasks.base import TASKS, Constants, Metric, Task
from tunekit.tasks.label_counts import counts_of_labels, macro_f1, mcc, micro_f1

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: Tensor | None = None,
    focal_gamma: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy (N,) of each example, for (N, C) logits and (N,) integer labels.

    Weights (N, C) and smoothing (N,) are those of ``torch.nn.functional.cross_entropy``, before its mean. Focal loss
    multiplies an example's loss by (1 - p) ** gamma, with a gamma (N,) of its own, p being the probability of its label
    (Lin et al., 2017, eq. 4 and 5).
    """
    import torch
    from torch.nn import functional as F

    if class_weights is None and label_smoothing is None and focal_gamma is None:
        return F.cross_entropy(logits, labels, reduction="none")
    log_probs, num_classes = logits.log_softmax(-1), logits.shape[-1]  # (N, C)
    # By comparison, not by an index: an index's gradient is a sum in no fixed order on a GPU.
    is_label = labels[:, None] == torch.arange(num_classes, device=logits.device)  # (N, C)
    targets = is_label.to(log_probs.dtype)
    if label_smoothing is not None:
        share = label_smoothing[:, None]
        targets = (1 - share) * targets + share / num_classes
    if class_weights is not None:
        targets = targets * class_weights
    loss = -(targets * log_probs).sum(-1)
    if focal_gamma is not None:
        of_label = torch.where(is_label, log_probs, 0).sum(-1)
        # A power below 1 has no gradient at 0, which a label of probability 1 gives.
        others = (-torch.expm1(of_label)).clamp(min=torch.finfo(loss.dtype).eps)
        loss = loss * others**focal_gamma
    return loss


def scores(
    labels: npt.NDArray[Any], logits: npt.NDArray[np.floating[Any]], constants: Constants, label_names: Sequence[str]
) -> dict[str, float]:
    """Return mean cross-entropy, accuracy, micro-F1 and macro-F1 of (N, C) logits against (N,) integer labels.

    The loss is computed in float64. It is NaN or infinite where the trial has diverged.
    """
    import torch
    from torch.nn import functional as F

    loss = float(F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)))
    return {"loss": loss, **label_scores(labels, predicted(logits, constants), logits.shape[1])}


def predicted(logits: npt.NDArray[np.floating[Any]], constants: Constants) -> npt.NDArray[np.int32]:
    """Return the label (N,) with the largest of each row's logits (N, C)."""
    import numpy as np

    labels: npt.NDArray[np.int32] = np.argmax(logits, axis=1).astype(np.int32)
    return labels


def answers(logits: npt.NDArray[Any], constants: Constants, label_names: Sequence[str]) -> dict[str, list[str]]:
    """Return the label of each row of logits (N, C), and the probability ``p_<label>`` of each label."""
    import numpy as np

    logits = logits.astype(np.float64)
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))  # (N, C)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return {
        "label": [label_names[label] for label in predicted(logits, constants)],
        **{
            f"p_{name}": [f"{p:.6f}" for p in column] for name, column in zip(label_names, probabilities.T, strict=True)
        },
    }


def label_scores(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], num_labels: int) -> dict[str, float]:
    """Return accuracy, micro-F1 and macro-F1 in [0, 1] of integer labels and predictions, each (N,).

    The means are over all ``num_labels`` labels of the dataset. A label that is neither in ``labels`` nor predicted
    counts with F1 = 0, so that no trial is scored on fewer classes than another.
    """
    counts = counts_of_labels(labels, predicted, num_labels)
    return {
        "accuracy": float((labels == predicted).mean()),
        "micro_f1": float(micro_f1(counts)),
        "macro_f1": float(macro_f1(counts)),
    }


def matthews(labels: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    """Return the Matthews correlation of integer labels and predictions, each (N,) (``tunekit.tasks.label_counts``)."""
    return float(mcc(counts_of_labels(labels, predicted, 1 + int(max(labels.max(), predicted.max())))))


TASKS.register("classification")(
    Task(
        name="classification",
        head_class="ForSequenceClassification",
        metrics=(
            Metric(name="loss", label="loss", direction=Direction.MIN, bounds=(0.0, None)),
            Metric(name="accuracy", label="accuracy", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
            Metric(name="micro_f1", label="micro-F1", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
            Metric(name="macro_f1", label="macro-F1", direction=Direction.MAX, unit="%", bounds=(0.0, 1.0)),
        ),
        primary="macro_f1",
        reported=("accuracy", "macro_f1"),
        loss=cross_entropy,
        scores=scores,
        predicted=predicted,
        answers=answers,
        described="A text classifier of {count} classes",
        loss_options=("class_weights", "label_smoothing", "focal_gamma"),
        reading=('print(manifest["label_names"][logits.argmax().item()], logits.softmax(-1).tolist())',),
        further=((Metric(name="mcc", label="MCC", direction=Direction.MAX, unit="%", bounds=(-1.0, 1.0)), matthews),),
    )
)
