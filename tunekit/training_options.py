"""Options of training that a spec may leave at their default: their ranges, and class weights as a text.

A store from before an option existed has trials without it. So a field at its default is not written, and the cells,
records and studies of plain trials stay unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Literal, get_args

Schedule = Literal["linear", "cosine", "constant"]
SCHEDULES = get_args(Schedule)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options of training, each with the default that plain trials have."""

    class_weights: str = "none"
    """The weights of the labels in the loss: none, balanced, or ``LABEL=WEIGHT,...`` with 1 for other labels."""
    label_smoothing: float = 0.0
    """The share of the target that is spread evenly over all labels."""
    focal_gamma: float = 0.0
    """The exponent of focal loss; 0 is cross-entropy."""
    head_learning_rate: float = 1.0
    """The learning rate of the head, as a multiple of ``learning_rate``."""
    layer_decay: float = 1.0
    """The learning rate of a layer, as a multiple of that of the layer above it; 1 is one rate for all."""
    lr_schedule: str = "linear"
    """The learning rate after warm-up: linear to 0, cosine to 0, or constant."""
    max_grad_norm: float = 1.0
    """The norm that a step's gradients are clipped to; 0 clips nothing."""
    patience: int | None = None
    """The trial is complete once this many epochs in a row have not raised its best validation score; None trains all
    epochs."""

    def option_checks(self) -> dict[str, bool]:
        """Return whether each requirement of an option holds, by a text that begins with the option's name."""
        return {
            "label_smoothing must lie in [0, 1)": 0 <= self.label_smoothing < 1,
            "focal_gamma must be 0 or more": self.focal_gamma >= 0,
            "head_learning_rate must be above 0": self.head_learning_rate > 0,
            "layer_decay must lie in (0, 1]": 0 < self.layer_decay <= 1,
            f"lr_schedule must be one of {', '.join(SCHEDULES)}": self.lr_schedule in SCHEDULES,
            "max_grad_norm must be 0 or more": self.max_grad_norm >= 0,
            "patience must be 1 or more": self.patience is None or self.patience >= 1,
            "focal_gamma must be 0 beside a label_smoothing, since focal loss is defined for one label": not (
                self.label_smoothing and self.focal_gamma
            ),
        }


LATER_FIELDS: dict[str, Any] = {item.name: item.default for item in fields(TrainingOptions)}
"""The options with their defaults."""


def with_later_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a trial, or of its cell, with those of ``LATER_FIELDS`` that it leaves out.

    The fields of an imported trial, which has ``settings`` of its own, stay as they are.
    """
    left_out = {} if "settings" in values else {name: LATER_FIELDS[name] for name in LATER_FIELDS if name not in values}
    return {**values, **left_out}


def without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` without those that are equal to their default."""
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


def label_weights(class_weights: str) -> dict[str, float]:
    """Return the weight of each label that ``class_weights`` names; empty for none and balanced.

    A label in ``LABEL=WEIGHT,...`` may hold commas and equals signs. Raises ValueError where the text is not such a
    list, has a label twice, or a weight that is not a finite number of 0 or more.
    """
    weights: dict[str, float] = {}
    pending = ""
    for part in () if class_weights in ("none", "balanced") else class_weights.split(","):
        pending += part
        label, equals, number = (piece.strip() for piece in pending.rpartition("="))
        if not equals:
            pending += ","  # the comma belongs to the label
            continue
        try:
            weight = float(number)
        except ValueError as error:
            raise ValueError(
                f"class_weights: the weight of {label!r} must be a number, got {number[:100]!r}"
            ) from error
        if not label or label in weights:
            raise ValueError(
                f"class_weights must name each label once, as in LABEL=WEIGHT,..., got {class_weights[:100]!r}"
            )
        if not isfinite(weight) or weight < 0:
            raise ValueError(
                f"class_weights: the weight of {label!r} must be a finite number of 0 or more, got {number}"
            )
        weights[label], pending = weight, ""
    if pending:
        raise ValueError(f"class_weights must be none, balanced or LABEL=WEIGHT,..., got {class_weights[:100]!r}")
    return weights


def canonical_weights(class_weights: str) -> str:
    """Return ``class_weights`` in the one form that equal weights have: sorted by label, numbers at their shortest.

    Raises ValueError as ``label_weights`` does.
    """
    weights = label_weights(class_weights)
    named = ",".join(f"{label}={repr(weight).removesuffix('.0')}" for label, weight in sorted(weights.items()))
    return named or class_weights
