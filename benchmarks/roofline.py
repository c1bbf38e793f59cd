"""Useful FLOP/s of our training step over what this machine's matrix product reaches in the same run, in fp32.

Useful are the multiplications and additions that a step on the real tokens must do (``tunekit.planning.work``).
Padding, softmax, norms, dropout and the optimizer are not counted.
"""

import os
from time import perf_counter
from typing import Any

import torch

from benchmarks.support.harness import Outcome, Ratio, ratio_of
from benchmarks.support.trial import BATCH_SIZE, case_of, pack_of, prepared_of, train
from tunekit.models.shapes import Shape
from tunekit.planning.sizes import texts_of
from tunekit.planning.work import training_flops

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
        num_labels = len(prepared.data.label_names)
        flops = training_flops(shape, method, case.spec.method_params, num_labels, texts_of(lengths))
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
