"""The loss that the trials of a pack minimise: the task's own, or one with class weights, smoothing or focal loss."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from tunekit.engine.member import Member
from tunekit.schema import TrialSpec
from tunekit.tasks.base import IGNORED
from tunekit.training_options import label_weights


class PackLoss:
    """The mean loss of K trials, each under the options of its own spec.

    Where words have labels, it is the mean over all words of a batch, however they are spread over its texts. With
    class weights it is the sum of the weighted losses over the sum of the labels' weights, as in PyTorch, and 0 for a
    batch whose labels all have the weight 0.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.task, self.num_trials = members[0].task, len(members)
        device = members[0].device
        self.weights: torch.Tensor | None = None
        """The class weights (K, C); None where no trial has any."""
        self.options: dict[str, torch.Tensor] = {}
        """The options of the task's loss by name, (K, C) or (K,). An option that no trial asks for is left out, so that
        plain trials compute the task's own loss."""
        if weighted := [member.class_weights for member in members if member.class_weights is not None]:
            ones = np.ones_like(weighted[0])
            rows = [ones if member.class_weights is None else member.class_weights for member in members]
            self.weights = torch.tensor(np.stack(rows), dtype=torch.float32, device=device)
            self.options["class_weights"] = self.weights
        for name in ("label_smoothing", "focal_gamma"):
            values = [float(getattr(member.spec, name)) for member in members]
            if any(values):
                self.options[name] = torch.tensor(values, device=device)

    @property
    def is_weighted(self) -> bool:
        """Whether the rows of a batch weigh differently (``Member.example_weights``)."""
        return self.task.of_words or self.weights is not None

    def mean(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss (K,) of each trial, for logits (K * R, C) and the targets of K * R rows."""
        num_rows = len(targets) // self.num_trials
        options = {name: values.repeat_interleave(num_rows, 0) for name, values in self.options.items()}
        each = self.task.loss(logits, targets, **options).view(self.num_trials, -1)  # (K, R)
        return each.sum(1) / self._total_weight(targets) if self.is_weighted else each.mean(1)

    def _total_weight(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the sum (K,) of the weights of the labels among ``targets`` (K * R,), and 1 where it is 0."""
        own = targets.view(self.num_trials, -1)
        total = (own != IGNORED).sum(1) if self.weights is None else self.weights.gather(1, own).sum(1)
        return torch.where(total > 0, total, 1)


def class_weights(
    spec: TrialSpec, labels: npt.NDArray[np.int64], label_names: Sequence[str]
) -> npt.NDArray[np.float64] | None:
    """Return the weight (C,) of each class by ``spec``, or None where it asks for no weights.

    ``labels`` (N,) are the labels of the training examples. ``balanced`` gives a class the weight N / (C' n), as
    ``sklearn.utils.class_weight.compute_class_weight`` does, where n is the number of the class's examples and C' the
    number of classes that have any. A class without an example has the weight 0.
    """
    if spec.class_weights == TrialSpec.class_weights:
        return None
    if spec.class_weights != "balanced":
        given = label_weights(spec.class_weights)
        return np.array([given.get(name, 1.0) for name in label_names])
    counts = np.bincount(labels, minlength=len(label_names))
    weights: npt.NDArray[np.float64] = np.zeros(len(counts))
    weights[counts > 0] = len(labels) / (np.count_nonzero(counts) * counts[counts > 0])
    return weights
