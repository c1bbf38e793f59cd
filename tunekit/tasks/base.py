"""The interface of a task: a small frozen value with a loss, scores, and the facts that tables need on each score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tunekit.errors import UserError
from tunekit.parsing import not_a_choice
from tunekit.registry import Registry
from tunekit.schema import Direction

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    Array = npt.NDArray[Any]

SCORED_SPLITS = ("val", "test")
"""The splits that are scored after each epoch, in the order of an epoch's record."""
Constants = Mapping[str, float]
"""Numbers that a trial takes from its data and that its outputs and predictions depend on, by name.

They are a part of the trial's state: its records hold them, and so does an exported model.
"""
LabelForm = Literal["class", "number", "labels", "tags"]
"""The form of the labels of N examples: ``class`` is the index of a class, int (N,); ``number`` is float (N,);
``labels`` are a 0 or 1 for each of C labels, int (N, C); ``tags`` are the index of a tag for each word, N arrays int
(words,)."""
IGNORED = -100
"""The target of a token that carries no tag, as the library ``transformers`` marks it."""
LOSS_OPTIONS = ("class_weights", "label_smoothing", "focal_gamma")
"""The fields of a TrialSpec that change the loss, where a task's loss takes them.

The loss is given the weight of each class (N, C), the share of a target that is spread evenly over the classes (N,),
and the exponent of focal loss (N,): those of the trial that each of the N examples belongs to.
"""

ITEM_SCORES: Mapping[LabelForm, tuple[str, ...]] = {
    "class": ("accuracy", "macro_f1", "mcc"),
    "number": ("pearson", "spearman", "rmse"),
    "labels": ("micro_f1", "macro_f1"),
    "tags": ("entity_f1", "precision", "recall"),
}
"""The scores whose standard error over items is known (``tunekit.search.choosing``), by the form of the labels."""


def _no_constants(labels: Any) -> Constants:
    return {}


def _nothing_decided(labels: Any, outputs: Any) -> Constants:
    return {}


def _as_they_are(values: Any, constants: Constants) -> Any:
    return values


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score of a split."""

    name: str
    """The name in records, after the name of the split, as in ``val_macro_f1``."""
    label: str
    """The name that people read."""
    direction: Direction
    """Whether more or less is better."""
    unit: str = ""
    """The unit that tables show: ``%`` for a score in [0, 1], empty for a plain number."""
    bounds: tuple[float | None, float | None] = (None, None)
    """The least and the greatest possible value; None where there is no bound."""

    @property
    def scale(self) -> float:
        """The factor of a shown value: 100 for percent, else 1."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return -1.0 if self.direction is Direction.MIN else 1.0

    @property
    def worst(self) -> float | None:
        """The worst possible value; None where there is no bound."""
        return self.bounds[1 if self.direction is Direction.MIN else 0]

    @property
    def is_share(self) -> bool:
        """Whether values have a least and a greatest possible one, so that several such metrics share an axis."""
        return None not in self.bounds

    def number(self, value: float, sign: str = "") -> str:
        """Return the metric's value for people, in its unit but without the unit's name: ``71.20`` or ``0.4312``.

        A value without bounds has four significant digits where it is large or small: ``1.234e+05``. ``sign`` is ``+``
        for a difference.
        """
        return self.numbers(value, sign=sign)[0]

    def numbers(self, *values: float, sign: str = "") -> list[str]:
        """Return values that belong together, as ``number`` writes them and with the same decimals.

        They are a mean and its spread, or an estimate and the bounds of its interval. The largest absolute value
        decides the number of digits.
        """
        if self.unit == "%":
            return [f"{100 * value:{sign}.2f}" for value in values]
        largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
        if self.is_share or largest == 0 or 1e-2 <= largest < 1e4:
            return [f"{value:{sign}.4f}" for value in values]
        exponent = int(f"{largest:.3e}".partition("e")[2])
        if -4 <= exponent < 0:
            return [f"{value:{sign}.{3 - exponent}f}" for value in values]
        # Decimal, since ten to the power of the exponent may be no float.
        return [f"{Decimal(value).scaleb(-exponent):{sign}.3f}e{exponent:+03d}" for value in values]

    def shown(self, value: float) -> str:
        """Return the metric's value for people, with its unit: ``71.20 %`` or ``0.4312``."""
        return f"{self.number(value)} {self.unit}".strip()

    def best(self, values: Iterable[float]) -> float:
        """Return the best of ``values``, at least one."""
        return max(values) if self.direction is Direction.MAX else min(values)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What trials on a dataset learn. N examples have N labels, and the head computes N rows of C logits.

    A dataset has a label name for each of the C columns. ``targets`` turns labels into the targets of the loss, and
    ``outputs`` turns logits into the outputs that are stored, scored and exported. Classification changes neither.

    Where each word has a label (``of_words``), the head computes a row of logits for each token. Wherever an array of N
    rows is named below, labels, logits and outputs are then lists of N arrays, one for each text, with a row for each
    word. The loss takes the rows of tokens, whose target is ``IGNORED`` where they have no label.
    """

    name: str
    """The name by which a dataset names its task."""
    head_class: str
    """The end of the names of model classes with this task's head, as in ``BertForSequenceClassification``."""
    metrics: tuple[Metric, ...]
    """All scores of a split, in the order of an epoch's record."""
    primary: str
    """The name of the metric by which epochs and configurations are chosen."""
    reported: tuple[str, ...]
    """The names of the metrics that closing tables and model cards show, in this order."""
    loss: Callable[..., Tensor]
    """``loss(logits, targets)`` returns the loss (N,) of each example, for (N, C) logits and the targets of N labels.

    Training minimises the mean over a batch. ``loss_options`` are keyword arguments, left out where no trial of a pack
    asks for them.
    """
    scores: Callable[[Any, Any, Constants, Sequence[str]], dict[str, float]]
    """``scores(labels, outputs, constants, label_names)`` returns the value of each metric by its name, for (N, C)
    outputs, and further scores that depend on the label names, such as the F1 of each type of entity.

    A value that is not finite means that the trial has diverged.
    """
    predicted: Callable[[Any, Constants], Any]
    """``predicted(outputs, constants)`` returns the N predictions, in the terms of the labels, for (N, C) outputs."""
    answers: Callable[[Any, Constants, Sequence[str]], dict[str, list[str]]]
    """``answers(outputs, constants, label_names)`` returns the columns, each of N texts, that ``predict`` writes."""
    described: str
    """The beginning of a model card's sentence on a model of the task, in which ``{count}`` stands for C."""
    reading: tuple[str, ...]
    """Lines of Python for a model card, which print the prediction that the ``logits`` (1, C) of a text stand for.

    ``manifest`` is the content of an export's tunekit.json, with ``label_names`` and ``constants``.
    """
    loss_options: tuple[str, ...] = ()
    """The options of ``LOSS_OPTIONS`` that the loss takes. A plan with another one is refused."""
    form: LabelForm = "class"
    """The form of the labels."""
    problem_type: str | None = None
    """The name of the task in a model's configuration in ``transformers``; None for the library's default."""
    stored_as: Literal["float16", "float32"] | None = "float16"
    """The type in which a trial's predictions keep the outputs; None where they keep no outputs."""
    constants: Callable[[Any], Constants] = _no_constants
    """``constants(labels)`` returns the trial's constants, for the labels of its training data.

    Raises ValueError, which says why, where nothing can be learnt from them.
    """
    decided: Callable[[Any, Any], Constants] = _nothing_decided
    """``decided(labels, outputs)`` returns the constants that an epoch adds, from N labels and (N, C) outputs.

    Labels and outputs are those of validation after the epoch; None where there is no validation part. The constants
    hold for the test split of the same epoch.
    """
    targets: Callable[[Any, Constants], Array] = _as_they_are
    """``targets(labels, constants)`` returns the labels, or outputs (N, C), as the loss takes them."""
    outputs: Callable[[Any, Constants], Any] = _as_they_are
    """``outputs(logits, constants)`` returns the outputs (N, C) of (N, C) logits, in the terms of the labels."""
    further: tuple[tuple[Metric, Callable[[Any, Any], float]], ...] = ()
    """Metrics that are recorded only on a dataset that names one of them as its primary metric (``choosing_by``).

    Each has a function ``score(labels, predictions)``, which returns its value for N labels and N predictions.
    """

    @property
    def of_words(self) -> bool:
        """Whether each word of an example has a label of its own."""
        return self.form == "tags"

    def metric(self, name: str) -> Metric:
        """Return the metric called ``name``. Raises KeyError where the task has none of this name."""
        for one in self.metrics:
            if one.name == name:
                return one
        raise KeyError(f"task {self.name!r} has no metric {name!r}")

    def measure(self, name: str) -> Metric:
        """Return the metric called ``name``. A metric unknown to the task is taken for a share where more is better."""
        known = (one for one in self.metrics if one.name == name)
        label = name.replace("_", " ")
        return next(known, Metric(name=name, label=label, direction=Direction.MAX, unit="%"))

    @property
    def choices(self) -> tuple[Metric, ...]:
        """The metrics that a dataset may name as its primary metric."""
        return (*self.metrics, *(metric for metric, _ in self.further))

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
    """Return the task of the trials on ``dataset``: a registered dataset names its own, any other's name says it.

    Where the dataset names another primary metric than its task, the task chooses by that one. Raises UserError where
    the dataset names a task that is not registered, or a metric that its task does not have.
    """
    from tunekit.data.base import primary_metric, task_name

    return choosing_by(TASKS[task_name(dataset)], primary_metric(dataset))


@cache
def choosing_by(task: Task, name: str | None) -> Task:
    """Return ``task`` with the metric called ``name`` as its primary one, which is then recorded and reported, too.

    None stands for the task's own. Raises UserError where the task has no such metric.
    """
    if name in (None, task.primary):
        return task
    if name not in (known := [metric.name for metric in task.choices]):
        raise UserError(not_a_choice(f"the primary metric of {task.name}", name, known))
    chosen = replace(task, primary=name, reported=tuple(dict.fromkeys([*task.reported, name])))
    for metric, score in task.further:
        if metric.name == name:
            return replace(chosen, metrics=(*task.metrics, metric), scores=_with_score(task, name, score))
    return chosen


def _with_score(task: Task, name: str, score: Callable[[Any, Any], float]) -> Callable[..., dict[str, float]]:
    """Return the function of ``Task.scores`` that adds the score of the predictions called ``name``."""

    def scores(labels: Any, outputs: Any, constants: Constants, label_names: Sequence[str]) -> dict[str, float]:
        values = task.scores(labels, outputs, constants, label_names)
        return {**values, name: score(labels, task.predicted(outputs, constants))}

    return scores
