"""Workers' tasks that compile: they train before their first turn, so that many workers compile side by side.

What Triton and ``torch.compile`` have compiled stays on the disk, where the processes of later stages find it.
"""

from time import perf_counter
from typing import Any

from benchmarks.support.peers import train_peer
from benchmarks.support.trial import Case, pack_of, train
from benchmarks.support.workers import Gate
from tunekit.engine.kernels.choice import fallbacks


class Turns:
    """Takes the place of a gate, for a task that trains a fixed number of turns and ends."""

    def __init__(self, turns: int) -> None:
        self.left = turns

    def wait(self) -> bool:
        """Return whether there is another turn."""
        self.left -= 1
        return self.left >= 0

    def done(self, result: object) -> None:
        """Forget what the turn gave."""


def compile_kernels(gate: Gate, case: Case, device: str) -> None:
    """Train an epoch of ``case`` and score its rows once, then give the seconds, and what runs without kernels."""
    start = perf_counter()
    pack = pack_of([case], device)
    built = perf_counter()
    train(pack)
    pack.predict(pack.members[0].train)
    _give(gate, {"build": built - start, "first epoch and scoring": perf_counter() - built, "plain": fallbacks()})


def compile_peer(gate: Gate, name: str, case: Case, steps: int, device: str) -> None:
    """Train two epochs of the peer called ``name``, then give the seconds."""
    start = perf_counter()
    turns: Any = Turns(2)
    train_peer(turns, name, case, steps, device)
    _give(gate, {"two epochs": perf_counter() - start})


def _give(gate: Gate, found: dict[str, Any]) -> None:
    while gate.wait():
        gate.done(found)
