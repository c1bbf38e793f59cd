"""The least time in which a GPU can do a training step, by its products and by the numbers that the step moves.

Each part of a step takes at least the larger of two times: its products at the peak that a large matrix product reaches
on the device at that precision, and its numbers at the bandwidth that a copy reaches. The floor is the sum over the
parts, as if each kernel were perfect and no two parts were one kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from time import perf_counter

import torch

from benchmarks.support.trial import Case, model_of, prepared_of
from tunekit.methods.base import count_parameters
from tunekit.models.shapes import Shape
from tunekit.planning.sizes import texts_of
from tunekit.planning.work import Part, training_parts

BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
"""Bytes of a number that a product reads or writes, by precision."""
OPTIMIZER_BYTES = 8 * 4
"""Bytes that clipping and AdamW move for each trained number, in fp32.

The gradient is read for its norm and for the step. The weight and the two moments are read and written.
"""
SQUARE, COPIED, REPEATS = 8192, 2**30, 10


@dataclass(frozen=True)
class Device:
    """What a device reaches at one precision."""

    flops: float
    """Multiplications and additions a second."""
    bandwidth: float
    """Bytes a second, reading and writing counted both."""


@cache
def measured(precision: str, device: str = "cuda") -> Device:
    """Return what ``device`` reaches: the best of a few square products, and of a few copies of a gibibyte."""
    size, copied = (SQUARE, COPIED) if device == "cuda" else (256, 2**20)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.rand(size, size, device=device, dtype=kind) for _ in range(2))
    source = torch.rand(copied // 4, device=device)
    target = torch.empty_like(source)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        product = min(_seconds(lambda: torch.mm(left, right), device) for _ in range(REPEATS))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    copy = min(_seconds(lambda: target.copy_(source), device) for _ in range(REPEATS))
    return Device(2 * size**3 / product, 2 * copied / copy)


def _seconds(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start


def floor_of(cases: Sequence[Case], device: Device) -> tuple[float, int]:
    """Return the floor of an epoch of trials that train as one pack, in seconds, and the real tokens of all of them.

    The trials differ in their seeds alone.
    """
    case, trials = cases[0], len(cases)
    model, prepared = model_of(case), prepared_of(case)
    shape, lengths = Shape.from_config(model.config.to_dict()), prepared.splits["train"].tokens.lengths
    # The parts of all steps together: weights are read once a step, which ``steps`` puts right.
    parts = training_parts(
        shape, case.spec.method, case.spec.method_params, len(prepared.data.label_names), texts_of(lengths)
    )
    seconds = floor_seconds(
        parts, shape, steps=-(-len(lengths) // case.spec.batch_size), tokens=int(lengths.sum()),
        trained=count_parameters(model)[0], trials=trials, precision=case.spec.precision, device=device,
    )  # fmt: skip
    return seconds, trials * int(lengths.sum())


def floor_seconds(
    parts: Sequence[Part],
    shape: Shape,
    *,
    steps: int,
    tokens: int,
    trained: int,
    trials: int,
    precision: str,
    device: Device,
) -> float:
    """Return the floor of ``steps`` steps of a pack, in seconds.

    ``parts`` are the products of one trial on the examples of all the steps together, ``tokens`` the real tokens of
    these and ``trained`` the trial's trained numbers. ``trials`` is K, the number of trials of the pack.
    """
    size = BYTES[precision]
    total = 0.0
    for part in parts:
        moved = size * (trials * (part.vectors + steps * part.own) + steps * part.shared)
        total += max(trials * part.flops / device.flops, moved / device.bandwidth)
    # Twice a layer, dropout, residual sum and layer norm: two reads and a write forward, three and one backward at
    # least. Once a layer, bias and activation: a read and a write forward, two and one backward.
    a_layer = 14 * shape.hidden_size + 5 * shape.intermediate_size
    elementwise = size * trials * tokens * (shape.num_hidden_layers * a_layer + 5 * shape.hidden_size)
    return total + (elementwise + OPTIMIZER_BYTES * steps * trials * trained) / device.bandwidth
