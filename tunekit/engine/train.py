"""The one training loop, for a pack of trials; a single trial is a pack of one.

A ``Pack`` trains its members (``tunekit.engine.member``) step by step as one model and returns what each of them
measured. Each member has its own data order, dropout stream, schedule, clipping and optimizer state, so that no
member's numbers depend on the other members.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunekit.engine.buffers import Buffers
from tunekit.engine.host_steps import HostSteps
from tunekit.engine.member import LabelledSplit, Member, packable
from tunekit.engine.optim import AdamW
from tunekit.engine.stacking import stacked_model


class Diverged(ArithmeticError):
    """A training loss or a score was NaN or infinite."""


@dataclass
class TrainedEpoch:
    """What one member's epoch of training measured. Scores come later."""

    losses: list[float]
    """The mean loss of each batch, in order."""
    learning_rates: list[float]
    """The learning rate of each step, in order."""
    train_loss: float
    """The mean loss over examples."""
    num_tokens: int
    """The tokens that the epoch trained on, padding not counted."""
    seconds: float
    """How long the epoch took, for a pack all members together."""


class Pack:
    """Members that train step by step as one model; the model of a single member is its own.

    Each member stands at the end of an epoch, not all of the same one. ``close`` gives the members back, each as if it
    had trained alone.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Raises ValueError where members can't be one pack."""
        self.members = list(members)
        self.model = members[0].model
        if len(members) > 1:
            if not packable(members):
                raise ValueError("these trials can't be one pack: they differ in more than seed, rates and sizes")
            buffers = Buffers([member.trained for member in members])
            self.model = stacked_model([member.model for member in members], buffers)
            for member in members:
                member.buffers = buffers
        self.steps = HostSteps(self.members, self.model)

    def close(self) -> None:
        """Give each member of several weights and optimizer state of its own."""
        if len(self.members) > 1:
            for member in self.members:
                member.take_own_buffers()

    def train_epoch(self) -> list[TrainedEpoch]:
        """Train the next epoch of every member. Return what each of them measured, in the order of the members.

        A member whose loss became NaN or infinite has that value in its ``losses``; the other members' numbers stay as
        they are.
        """
        start = time.perf_counter()
        self.model.train()
        rates = np.array([member.learning_rates() for member in self.members]).T  # (steps, K)
        losses, tokens = self.steps.train(self.make_optimizer(), rates)
        first = self.members[0]
        sizes = np.full(len(rates), first.spec.batch_size)
        sizes[-1] = len(first.train) - sizes[:-1].sum()
        for member in self.members:
            member.step += len(rates)
        seconds = time.perf_counter() - start
        return [
            TrainedEpoch(
                losses=losses[:, trial].tolist(),
                learning_rates=rates[:, trial].tolist(),
                train_loss=float(np.average(losses[:, trial], weights=sizes)),
                num_tokens=int(tokens[trial]),
                seconds=seconds,
            )
            for trial in range(len(self.members))
        ]

    def make_optimizer(self) -> AdamW:
        """Return AdamW over the members' weights where they lie now."""
        first, named = self.members[0], dict(self.model.named_parameters())
        parameters = [named[piece.name] for piece in first.buffers.pieces]
        return AdamW(first.buffers, parameters, [member.spec.weight_decay for member in self.members], first.decayed)

    def predict(self, split: LabelledSplit) -> list[npt.NDArray[np.float32]]:
        """Return the logits (N, C) of each member for all N examples of ``split``, float32, with dropout off."""
        self.model.eval()
        return list(self.steps.predict(split))
