"""The steps of a GPU on a CPU: graphs that call instead of replay, and a check that the host reads nothing."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tunekit.engine.device_steps import DeviceSteps
from tunekit.engine.forward.joint_linear import lay_side_by_side
from tunekit.engine.member import Member
from tunekit.engine.train import MakeSteps, Pack


class CalledGraphs:
    """Stands in for CUDA's graphs: a capture leaves all tensors as they were, and a replay runs the step."""

    def __init__(self) -> None:
        self.steps: DeviceSteps | None = None
        self.captured = self.replayed = 0

    def stream(self) -> AbstractContextManager[None]:
        return nullcontext()

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        assert self.steps is not None
        changed = [*self.steps.training.state, *(s.step for s in self.steps._scoring.values())]
        before = [tensor.clone() for tensor in changed]
        body()
        with torch.no_grad():
            for tensor, old in zip(changed, before, strict=True):
                tensor.copy_(old)
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            body()

        return replay


def eager_steps(members: Sequence[Member], model: Any, note: Callable[[str], None]) -> DeviceSteps:
    """The steps of a GPU, each run eagerly."""
    return DeviceSteps(members, model, None, note)


def called(graphs: CalledGraphs) -> MakeSteps:
    """Return what makes the steps of a GPU, captured by ``graphs``."""

    def make(members: Sequence[Member], model: Any, note: Callable[[str], None]) -> DeviceSteps:
        graphs.steps = DeviceSteps(members, model, graphs, note)
        return graphs.steps

    return make


def device_pack(members: Sequence[Member], graphs: CalledGraphs | None = None) -> Pack:
    """A pack that trains as on a GPU, where the frozen weights of queries, keys and values lie side by side."""
    for member in members:
        lay_side_by_side(member.model)
    return Pack(members, make_steps=called(graphs) if graphs else eager_steps)


class NoHostReads(TorchDispatchMode):
    """Raises AssertionError where a tensor is read by the host, or has a shape that depends on its values."""

    REFUSED = ("_local_scalar_dense", "nonzero", "item", "masked_select", "unique", "is_nonzero", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in self.REFUSED, f"a step calls {name}"
        return func(*args, **(kwargs or {}))
