"""Classification: one label of C for each text, trained by cross-entropy, chosen by macro-F1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunekit.schema import Direction
from tunekit.tasks.base import TASKS, LossOptions, Metric, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy (N,) of each example, for (N, C) logits and (N,) integer labels."""
    from torch.nn import functional as F

    return F.cross_entropy(logits, labels, reduction="none")


def cross_entropy_with(logits: Tensor, labels: Tensor, options: LossOptions) -> Tensor:
    """Return the cross-entropy (K, B) of each example under ``options``, for (K, B, C) logits and (K, B) labels.

    Weights and smoothing are those of ``torch.nn.functional.cross_entropy``, before its mean. Focal loss multiplies an
    example's loss by (1 - p) ** gamma, p being the probability of its label (Lin et al., 2017, eq. 4 and 5).
    """
    import torch

    log_probs = logits.log_softmax(-1)  # (K, B, C)
    num_classes = logits.shape[-1]
    # By comparison, not by an index: an index's gradient is a sum in no fixed order on a GPU.
    is_label = labels[..., None] == torch.arange(num_classes, device=logits.device)  # (K, B, C)
    targets = is_label.to(log_probs.dtype)
    if options.label_smoothing is not None:
        share = options.label_smoothing[:, None, None]
        targets = (1 - share) * targets + share / num_classes
    if options.class_weights is not None:
        targets = targets * options.class_weights[:, None]
    loss = -(targets * log_probs).sum(-1)
    if options.focal_gamma is not None:
        of_label = torch.where(is_label, log_probs, 0).sum(-1)
        # A power below 1 has no gradient at 0, which a label of probability 1 gives.
        others = (-torch.expm1(of_label)).clamp(min=torch.finfo(loss.dtype).eps)
        loss = loss * others ** options.focal_gamma[:, None]
    return loss


def scores(labels: npt.NDArray[Any], logits: npt.NDArray[np.floating[Any]]) -> dict[str, float]:
    """Return mean cross-entropy, accuracy, micro-F1 and macro-F1 of (N, C) logits against (N,) integer labels.

    The loss is computed in float64. It is NaN or infinite where the trial has diverged.
    """
    import torch
    from torch.nn import functional as F

    loss = float(F.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)))
    return {"loss": loss, **label_scores(labels, predicted(logits), logits.shape[1])}


def predicted(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int32]:
    """Return the label (N,) with the largest of each row's logits (N, C)."""
    import numpy as np

    labels: npt.NDArray[np.int32] = np.argmax(logits, axis=1).astype(np.int32)
    return labels


def label_scores(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], num_labels: int) -> dict[str, float]:
    """Return accuracy, micro-F1 and macro-F1 in [0, 1] of integer labels and predictions, each (N,), by scikit-learn.

    The means are over all ``num_labels`` labels of the dataset. A label that neither stands in ``labels`` nor is
    predicted counts with F1 = 0, so that no trial is scored on fewer classes than another.
    """
    from sklearn.metrics import accuracy_score, f1_score

    classes = range(num_labels)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "micro_f1": float(f1_score(labels, predicted, labels=classes, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)),
    }


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
        loss_with=cross_entropy_with,
        scores=scores,
        predicted=predicted,
    )
)
