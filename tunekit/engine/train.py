"""The one training loop, for a pack of trials; a single trial is a pack of one.

A ``Pack`` trains its members (``tunekit.engine.member``) step by step as one model and returns what each of them
measured. Each member has its own data order, dropout stream, schedule, clipping and optimizer state, so that no
member's numbers depend on the other members.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from tunekit.engine.buffers import Buffers
from tunekit.engine.capture import CudaGraphs
from tunekit.engine.device_steps import DeviceSteps
from tunekit.engine.host_steps import HostSteps
from tunekit.engine.member import Indices, LabelledSplit, Member, packable
from tunekit.engine.precision import products_in
from tunekit.engine.stacking import stacked_model


class Diverged(ArithmeticError):
    """A training loss or a score was NaN or infinite."""


@dataclass
class TrainedEpoch:
    """What was measured while one member trained an epoch. It holds no scores."""

    losses: list[float]
    """The mean loss of each batch, in order."""
    learning_rates: list[float]
    """The learning rate of each step, in order."""
    train_loss: float
    """The mean loss over examples, or over words where these have labels."""
    num_tokens: int
    """The tokens that the epoch trained on, padding not counted."""
    seconds: float
    """The seconds that the epoch took, for a pack those of all members together."""


class Steps(Protocol):
    """How a pack's epochs are computed: by the host (``host_steps``) or on a device (``device_steps``)."""

    buffers: Buffers
    """The buffers of the weights that the steps train."""

    def train(self, rates: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], Indices]:
        """Train an epoch at learning rates (steps, K). Return losses (steps, K) and numbers of tokens (K,)."""

    def predict(self, split: LabelledSplit) -> npt.NDArray[np.float32]:
        """Return the logits (K, R, C) of the R rows of the examples of ``split``, with dropout off."""


MakeSteps = Callable[[Sequence[Member], PreTrainedModel, Callable[[str], None]], Steps]


def steps_for(members: Sequence[Member], model: PreTrainedModel, note: Callable[[str], None]) -> Steps:
    """Return the steps that suit the device: on a GPU the device's own, where its kernels can run the model."""
    device = members[0].device
    if device.type == "cuda" and members[0].context.on_device:
        return DeviceSteps(members, model, CudaGraphs(device), note)
    return HostSteps(members, model)


class Pack:
    """Members that train step by step as one model; the model of a single member is its own.

    Each member stands at the end of an epoch; members may stand at different ones. ``close`` gives each member its own
    weights again, as if it had trained alone.
    """

    def __init__(
        self, members: Sequence[Member], note: Callable[[str], None] = lambda line: None,
        make_steps: MakeSteps | None = None,
    ) -> None:  # fmt: skip
        """``note`` is given lines for people. ``make_steps`` replaces the steps that suit the device (``steps_for``).

        Raises ValueError where members can't be one pack.
        """
        self.members = list(members)
        self.model = members[0].model
        self._note, self._make_steps = note, make_steps or steps_for
        self._steps: Steps | None = None
        if len(members) > 1:
            if not packable(members):
                raise ValueError("these trials can't be one pack: they differ in more than seed, rates and sizes")
            buffers = Buffers([member.trained for member in members])
            self.model = stacked_model([member.model for member in members], buffers)
            for member in members:
                member.buffers = buffers

    @property
    def steps(self) -> Steps:
        """The steps on the members' weights. They are made anew where the weights have moved to other buffers."""
        if self._steps is None or self._steps.buffers is not self.members[0].buffers:
            self._steps = self._make_steps(self.members, self.model, self._note)
        return self._steps

    def free_steps(self) -> None:
        """Free what the steps hold on the device, such as graphs. They are made anew when they are needed."""
        self._steps = None

    def close(self) -> None:
        """Give each member weights and optimizer state of its own, unless it is the only one and has them."""
        self.free_steps()
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
        first = self.members[0]
        rates = np.array([member.learning_rates() for member in self.members]).T  # (steps, K)
        with products_in(first.spec.precision):
            losses, tokens = self.steps.train(rates)
        weights = [[member.train.weights[one].sum() for one in member.batches()] for member in self.members]
        for member in self.members:
            member.step += len(rates)
        seconds = time.perf_counter() - start
        return [
            TrainedEpoch(
                losses=losses[:, trial].tolist(),
                learning_rates=rates[:, trial].tolist(),
                train_loss=float(np.average(losses[:, trial], weights=weights[trial])),
                num_tokens=int(tokens[trial]),
                seconds=seconds,
            )
            for trial in range(len(self.members))
        ]

    def predict(self, split: LabelledSplit) -> list[Any]:
        """Return each member's logits (N, C) for all N examples of ``split``, float32, with dropout off.

        Where words have labels they are N arrays (words, C).
        """
        self.model.eval()
        with products_in(self.members[0].spec.precision):
            return list(map(split.by_example, self.steps.predict(split)))
