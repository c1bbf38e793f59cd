"""Regression: one number for each text, trained by squared error on standardised targets, chosen by Pearson's r.

Targets are standardised by mean and standard deviation of the trial's training data, which are the trial's constants.
The head computes a standardised number; outputs, predictions and RMSE are in the unit of the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.schema import Direction
from tunekit.tasks.base import TASKS, Constants, Metric, Task

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Array = npt.NDArray[Any]


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error (N,) of each example, for (N, 1) logits and (N,) standardised targets."""
    from torch.nn import functional as F

    return F.mse_loss(logits[:, 0], targets, reduction="none")


def constants(labels: Array) -> Constants:
    """Return the mean and the standard deviation (over N) of the (N,) targets of the training data.

    Raises ValueError where the targets do not differ, or are so far apart that their deviation is not finite.
    """
    import numpy as np

    mean, std = float(np.mean(labels)), float(np.std(labels))
    if not np.isfinite([mean, std]).all():
        raise ValueError("the targets of train are too large: their standard deviation is no number")
    # Targets that are equal can have a deviation by rounding.
    if std <= 1e-12 * max(abs(mean), np.finfo(np.float64).tiny) or np.ptp(labels) == 0:
        raise ValueError(f"every target of train is {mean:g}; a regression needs targets that differ")
    return {"target_mean": mean, "target_std": std}


def targets(labels: Array, constants: Constants) -> Array:
    """Return labels, or outputs, standardised: float32 of the same shape."""
    import numpy as np

    standardised: Array = ((labels - constants["target_mean"]) / constants["target_std"]).astype(np.float32)
    return standardised


def outputs(logits: Array, constants: Constants) -> Array:
    """Return standardised logits (N, 1) in the unit of the target, float64 (N, 1)."""
    import numpy as np

    return constants["target_mean"] + constants["target_std"] * logits.astype(np.float64)


def scores(labels: Array, outputs: Array, constants: Constants, label_names: Sequence[str]) -> dict[str, float]:
    """Return the scores of (N, 1) outputs against (N,) labels.

    The loss is the mean squared error of standardised values, RMSE its root in the unit of the target. Pearson's r and
    Spearman's rho (Pearson's r of the ranks, equal values sharing their mean rank) are 0 where the labels or the
    outputs do not vary, since then they are not defined.
    """
    import numpy as np
    import pandas as pd

    found = outputs[:, 0]
    error = float(np.mean((found - labels) ** 2))
    return {
        "loss": error / constants["target_std"] ** 2,
        "pearson": correlation(labels, found),
        "spearman": correlation(*(pd.Series(values).rank().to_numpy() for values in (labels, found))),
        "rmse": float(np.sqrt(error)),
    }


def correlation(one: Array, other: Array) -> float:
    """Return Pearson's r of two (N,), in [-1, 1]: 0 where one does not vary, NaN where a value is not finite."""
    import numpy as np

    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("nan")
    # A rounding error of the mean is no variation: r of equal values would be noise.
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    a, b = one - one.mean(), other - other.mean()
    # Each is scaled on its own, so that neither a square nor a product overflows or vanishes.
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def predicted(outputs: Array, constants: Constants) -> Array:
    """Return the (N, 1) outputs, which are the predictions, as (N,)."""
    first: Array = outputs[:, 0]
    return first


def answers(outputs: Array, constants: Constants, label_names: Sequence[str]) -> dict[str, list[str]]:
    """Return the prediction of each row in the unit of the target, to six significant digits."""
    return {"prediction": [f"{value:.6g}" for value in outputs[:, 0]]}


TASKS.register("regression")(
    Task(
        name="regression",
        head_class="ForSequenceClassification",
        metrics=(
            Metric(name="loss", label="loss", direction=Direction.MIN, bounds=(0.0, None)),
            Metric(name="pearson", label="Pearson's r", direction=Direction.MAX, bounds=(-1.0, 1.0)),
            Metric(name="spearman", label="Spearman's rho", direction=Direction.MAX, bounds=(-1.0, 1.0)),
            Metric(name="rmse", label="RMSE", direction=Direction.MIN, bounds=(0.0, None)),
        ),
        primary="pearson",
        reported=("pearson", "spearman", "rmse"),
        loss=squared_error,
        scores=scores,
        predicted=predicted,
        answers=answers,
        described="A regression model, which predicts a number",
        reading=(
            'constants = manifest["constants"]',
            "# The head computes a standardised number; this is the target in its unit.",
            'print(constants["target_mean"] + constants["target_std"] * logits.item())',
        ),
        form="number",
        problem_type="regression",
        stored_as="float32",
        constants=constants,
        targets=targets,
        outputs=outputs,
    )
)
