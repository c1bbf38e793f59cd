"""Useful FLOP/s of our training step over what this machine's matrix product reaches in the same run, in fp32.

Useful are the multiplications and additions that a step on the real tokens must do: forward products, products for
gradients of inputs where anything before needs one, products for gradients of trained weights, and attention within
each sequence; after the last layer's keys and values, those of first tokens alone. Padding, softmax, norms, dropout and
the optimizer are not counted.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import Outcome, Ratio, ratio_of
from benchmarks.trial import BATCH_SIZE, case_of, pack_of, prepared_of, train
from tunekit.models.shapes import BOTTLENECKS, Shape, bottleneck_width, lora_targets

SQUARE, QUICK_SQUARE = 4096, 512
REPEATS, QUICK_REPEATS = 9, 3
STEPS = 8


def run(quick: bool) -> Outcome:
    """Shares of the peak such as ``minilm/restaurant/lora/peak``, on one thread, as a trial of a grid has."""
    torch.set_num_threads(1)
    model, repeats = ("tiny-bert", QUICK_REPEATS) if quick else ("minilm", REPEATS)
    ratios: dict[str, Ratio] = {}
    figures: dict[str, Any] = {"precision": "fp32", "threads": 1, "cores": len(os.sched_getaffinity(0))}
    for method in ("full", "adapter", "lora"):
        case = case_of(model, "restaurant", method, rows=STEPS * BATCH_SIZE)
        pack, prepared = pack_of([case]), prepared_of(case)
        shape, lengths = Shape.from_config(pack.model.config.to_dict()), prepared.splits["train"].tokens.lengths
        # All steps of an epoch together: the sum does not depend on which sequence stands in which batch.
        flops = step_flops(shape, method, case.spec.method_params, lengths, len(prepared.data.label_names))
        train(pack)
        _gemm(QUICK_SQUARE)
        peaks, ours = [], []
        for _ in range(repeats):
            # A product before and after: what the machine could do while ours ran.
            before = _gemm(QUICK_SQUARE if quick else SQUARE)
            start = perf_counter()
            train(pack)
            ours.append(flops / (perf_counter() - start))
            peaks.append((before + _gemm(QUICK_SQUARE if quick else SQUARE)) / 2)
        ratios[f"{model}/restaurant/{method}/peak"] = ratio_of([1 / one for one in ours], [1 / one for one in peaks])
        figures[f"{method}/useful GFLOP/s"] = [round(one / 1e9, 2) for one in ours]
        figures[f"{method}/GEMM GFLOP/s"] = [round(one / 1e9, 2) for one in peaks]
        figures[f"{method}/useful GFLOP a step"] = flops / STEPS / 1e9
    return Outcome(ratios, figures)


def _gemm(size: int) -> float:
    """FLOP/s of one square product."""
    left, right = torch.rand(size, size), torch.rand(size, size)
    start = perf_counter()
    torch.mm(left, right)
    return 2 * size**3 / (perf_counter() - start)


@dataclass(frozen=True)
class Part:
    """One product of a training step of one trial, and the numbers that it reads and writes."""

    flops: int
    """Multiplications and additions."""
    vectors: int
    """Numbers of inputs and outputs, which grow with the batch."""
    own: int = 0
    """Numbers of weights that each trial of a pack has for itself."""
    shared: int = 0
    """Numbers of weights that all trials of a pack share: frozen ones."""


def step_flops(shape: Shape, method: str, params: Mapping[str, Any], lengths: npt.ArrayLike, num_labels: int) -> int:
    """Useful floating-point operations of a training step on sequences of ``lengths``. Raises NoClosedForm."""
    return sum(part.flops for part in step_parts(shape, method, params, lengths, num_labels))


def step_parts(
    shape: Shape, method: str, params: Mapping[str, Any], lengths: npt.ArrayLike, num_labels: int
) -> list[Part]:
    """Return the useful products of a training step on sequences of ``lengths``. Raises NoClosedForm."""
    sizes = np.asarray(lengths, np.int64)  # (B,)
    tokens, pairs = int(sizes.sum()), int((sizes**2).sum())
    tuned, full = lora_targets(shape, method, params, num_labels), method == "full"
    rank = int(params["r"]) if tuned else 0
    parts: list[Part] = []
    needs_grad = full  # whether what enters the layer needs a gradient
    linears = list(shape.linears(num_labels))

    def product(count: int, wide: int, out: int, passes: int, trained: bool) -> None:
        """Add the products of one weight matrix (out, wide) with ``count`` vectors, forward and backward."""
        flops, vectors, weights = 2 * count * wide * out, count * (wide + out), wide * out
        part = Part(flops, vectors, own=weights) if trained else Part(flops, vectors, shared=weights)
        parts.extend([part] * passes)

    def linear(name: str, count: int, wide: int, out: int, x: bool, trained: bool) -> bool:
        """Add one linear module for ``count`` vectors; return whether its output needs a gradient."""
        product(count, wide, out, 1 + int(x) + int(trained), trained)
        if name in tuned:
            # Down and up again: both trained, a gradient between them always, before them where x needs one.
            product(count, wide, rank, 2 + int(x), True)
            product(count, rank, out, 3, True)
        return x or trained or name in tuned

    def adapter(count: int, x: bool) -> bool:
        if method not in BOTTLENECKS:
            return x
        width = bottleneck_width(shape, params)
        product(count, shape.hidden_size, width, 2 + int(x), True)
        product(count, width, shape.hidden_size, 3, True)
        return True

    each = len(linears[:-2]) // shape.num_hidden_layers
    for layer in range(shape.num_hidden_layers):
        (q, k, v, o, up, down) = linears[each * layer : each * (layer + 1)]
        last = layer == shape.num_hidden_layers - 1
        count, scored = (len(sizes), tokens) if last else (tokens, pairs)
        grads = [linear(*_for(q, count), needs_grad, full)]
        grads += [linear(*_for(one, tokens), needs_grad, full) for one in (k, v)]
        scores = grads[0] or grads[1]
        # Scores and their product with values; then gradients of q and k, of probabilities and of values.
        products = 2 + int(grads[0]) + int(grads[1]) + int(scores) + int(grads[2])
        # Forward reads queries, keys, values and writes contexts; backward reads those and the contexts' gradients, and
        # writes those of queries, keys and values.
        moved = (2 * count + 2 * tokens) + (3 * count + 2 * tokens if scores or grads[2] else 0)
        moved += int(grads[0]) * count + (int(grads[1]) + int(grads[2])) * tokens
        parts.append(Part(2 * scored * shape.hidden_size * products, moved * shape.hidden_size))
        attended = linear(*_for(o, count), scores or grads[2], full)
        attended = (attended if method == "pfeiffer" else adapter(count, attended)) or needs_grad
        wide = linear(*_for(up, count), attended, full)
        needs_grad = adapter(count, linear(*_for(down, count), wide, full)) or attended
    dense, out = linears[-2:]
    linear(*_for(dense, len(sizes)), needs_grad, True)
    linear(*_for(out, len(sizes)), True, True)
    return parts


def _for(module: tuple[str, int, int], count: int) -> tuple[str, int, int, int]:
    name, wide, out = module
    return name, count, wide, out
