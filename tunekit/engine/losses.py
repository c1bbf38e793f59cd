"""The mean loss of the trials of a pack, over texts, or over the words where each word has a label."""

from collections.abc import Sequence

import torch

from tunekit.engine.member import Member
from tunekit.tasks.base import IGNORED


class PackLoss:
    """The mean loss of K trials. Where words have labels it is that over a batch's words, however long its texts."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.task, self.num_trials = members[0].task, len(members)
        self.is_weighted = self.task.of_words
        """Whether rows weigh differently, so that a part of a batch has another share of its mean than of its texts."""

    def mean(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss (K,) of each trial, for logits (K * R, C) and the targets of K * R rows."""
        each = self.task.loss(logits, targets).view(self.num_trials, -1)  # (K, R)
        return each.sum(1) / self.total_weight(targets) if self.is_weighted else each.mean(1)

    def total_weight(self, targets: torch.Tensor) -> torch.Tensor:
        """Return how many of the ``targets`` (K * R,) of each trial carry a label (K,), and 1 where none does."""
        return (targets.view(self.num_trials, -1) != IGNORED).sum(1).clamp(min=1)
