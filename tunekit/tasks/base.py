"""What a task is: a small frozen value with a loss, scores, and what tables need to know of each score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tunekit.registry import Registry
from tunekit.schema import Direction

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

SCORED_SPLITS = ("val", "test")
"""The splits that are scored after each epoch, in the order of an epoch's record."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score of a split."""

    name: str
    """The name in records, where the split stands before it, as in ``val_macro_f1``."""
    label: str
    """The name that people read."""
    direction: Direction
    """Which way the metric is better."""
    unit: str = ""
    """The unit that tables show: ``%`` for a score in [0, 1], empty for a plain number."""
    bounds: tuple[float | None, float | None] = (None, None)
    """The least and the greatest possible value; None where there is no bound."""

    def number(self, value: float) -> str:
        """Return the metric's value for people, in its unit, which is not named: ``71.20`` percent or ``0.4312``."""
        return f"{100 * value:.2f}" if self.unit == "%" else f"{value:.4f}"

    def shown(self, value: float) -> str:
        """Return the metric's value for people, with its unit: ``71.20 %`` or ``0.4312``."""
        return f"{self.number(value)} {self.unit}".strip()

    def best(self, values: Iterable[float]) -> float:
        """Return the best of ``values``, of which there is at least one."""
        return max(values) if self.direction is Direction.MAX else min(values)


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What K trials ask of the loss beyond the task's own, as tensors; None where no trial asks for it."""

    class_weights: Tensor | None
    """(K, C), the weight of each class."""
    label_smoothing: Tensor | None
    """(K,), the share of each target that is spread evenly over the classes."""
    focal_gamma: Tensor | None
    """(K,), the exponent of focal loss."""


LOSS_FIELDS = tuple(item.name for item in fields(LossOptions))
"""The fields of a TrialSpec that change the loss."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What trials on a dataset learn. N examples have N labels and N rows of C outputs, called logits."""

    name: str
    """The name by which a dataset names its task."""
    head_class: str
    """What the names of model classes with this task's head end with, as in ``BertForSequenceClassification``."""
    metrics: tuple[Metric, ...]
    """All scores of a split, in the order of an epoch's record."""
    primary: str
    """The name of the metric by which epochs and configurations are chosen."""
    reported: tuple[str, ...]
    """The names of the metrics that closing tables and model cards show, in this order."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """``loss(logits, labels)`` returns the loss (N,) of each example, for (N, C) logits and (N,) labels.

    Training minimises the mean over a batch.
    """
    scores: Callable[[npt.NDArray[Any], npt.NDArray[np.floating[Any]]], dict[str, float]]
    """``scores(labels, logits)`` returns the value of each metric by its name, for (N,) labels and (N, C) logits.

    A value that is not finite says that the trial has diverged.
    """
    predicted: Callable[[npt.NDArray[np.floating[Any]]], npt.NDArray[Any]]
    """``predicted(logits)`` returns the (N,) predictions, in the terms of the labels, that (N, C) logits stand for."""

    loss_with: Callable[[Tensor, Tensor, LossOptions], Tensor] | None = None
    """``loss_with(logits, labels, options)`` returns the loss (K, B) of each example of K trials under ``options``, for
    (K, B, C) logits and (K, B) labels. None for a task that takes no options, whose trials are refused in the plan."""

    def metric(self, name: str) -> Metric:
        """Return the metric called ``name``. Raises KeyError where the task has none of this name."""
        for one in self.metrics:
            if one.name == name:
                return one
        raise KeyError(f"task {self.name!r} has no metric {name!r}")

    @property
    def chooses_by(self) -> Metric:
        """The metric by which epochs and configurations are chosen."""
        return self.metric(self.primary)

    def watched(self, score_test: bool) -> str:
        """Return the name of the score by which people watch a trial, as in ``test_macro_f1``.

        It is the primary metric on test, or on validation where test is not scored.
        """
        return f"{'test' if score_test else 'val'}_{self.primary}"

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of an epoch's scores, such as ``val_loss``: every metric of every scored split."""
        return tuple(f"{split}_{metric.name}" for split in SCORED_SPLITS for metric in self.metrics)


TASKS: Registry[Task] = Registry("task")


def task_of(dataset: str) -> Task:
    """Return the task of the trials on ``dataset``: a registered dataset names its own, any other is classified.

    Raises UserError where the dataset names a task that is not registered.
    """
    from tunekit.data.base import DATASETS, DEFAULT_TASK

    return TASKS[DATASETS[dataset].task if dataset in DATASETS else DEFAULT_TASK]
