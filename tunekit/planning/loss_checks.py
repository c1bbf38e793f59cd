"""Refuse a loss that does not fit the trial's task or the labels of its data, before anything trains."""

from collections.abc import Sequence

from tunekit.data.base import TextDataset, limit_and_carve
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean
from tunekit.schema import TrialSpec, readable
from tunekit.tasks import LOSS_OPTIONS, task_of
from tunekit.training_options import LATER_FIELDS, label_weights


def check_loss(spec: TrialSpec, label_names: Sequence[str]) -> None:
    """Raise UserError where the task lacks an option of the loss, or ``class_weights`` don't fit the labels."""
    task, data = task_of(spec.dataset), readable(spec.dataset)
    for name in LOSS_OPTIONS:
        if getattr(spec, name) != LATER_FIELDS[name] and name not in task.loss_options:
            takers = f"it takes {', '.join(task.loss_options)}" if task.loss_options else "it takes no options"
            raise UserError(f"{name} is no option of the loss of task {task.name!r}, which {data} has: {takers}")
    weights = label_weights(spec.class_weights)
    for name in weights:
        if name not in label_names:
            raise UserError(
                f"class_weights: {data} has no label {name!r}{did_you_mean(name, label_names)} "
                f"(there are {', '.join(label_names)})"
            )
    if not any(weights.get(name, 1.0) for name in label_names):
        raise UserError(f"class_weights: every label of {data} has the weight 0, so nothing would be learnt")


def check_classes(spec: TrialSpec, data: TextDataset) -> None:
    """Raise UserError where a label of ``class_weights`` has no training text, or all training texts weigh 0.

    ``data`` is the dataset of ``spec`` as a whole.
    """
    weights = label_weights(spec.class_weights)
    if not weights:
        return
    cut = limit_and_carve(data, train_limit=spec.train_limit, val_fraction=spec.val_fraction, data_seed=spec.data_seed)
    there = {data.label_names[label] for label in cut.splits["train"]["label"].unique()}
    for name in weights:
        if name not in there:
            raise UserError(f"class_weights: no training text of {readable(spec.dataset)} has the label {name!r}")
    if not any(weights.get(name, 1.0) for name in there):
        raise UserError(f"class_weights: every training text of {readable(spec.dataset)} has the weight 0")
