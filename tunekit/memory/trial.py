"""The most memory that a trial takes, over all batches that it trains on and scores. No torch."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple

from tunekit.memory.closed_form import predict
from tunekit.memory.graph import Work
from tunekit.memory.length_groups import BatchSizes
from tunekit.models.shapes import Shape
from tunekit.schema import TrialSpec

EVAL_TOKENS = 8192
"""The most tokens that a batch of scoring holds of one trial, padding counted."""
PROCESS_BYTES = 680 * 2**20
"""The resident memory of a process that trains, beside its trial: Python, Ray, torch, transformers and the tokens.

Measured with the CPU build of torch 2.13 on Linux.
"""


def trial_peak(
    spec: TrialSpec,
    shape: Shape,
    num_labels: int,
    batches: Iterable[Sequence[int]],
    longest: int,
    num_scored: int,
    *,
    gpu: bool,
) -> int:
    """Return the most bytes that a trial of ``spec`` takes, whose model has ``shape``.

    ``batches`` are the lengths in tokens of the sequences of each training batch. ``longest`` is the length of the
    longest sequence that is scored, and ``num_scored`` the rows of the largest split. Raises NoClosedForm.
    """
    sizes = {BatchSizes.from_lengths(lengths, gpu=gpu) for lengths in batches}
    scored = BatchSizes.from_lengths((longest,) * max(1, min(EVAL_TOKENS // longest, num_scored)), gpu=gpu)

    def peak(one: BatchSizes) -> int:
        work = Work(
            shape=shape, method=spec.method, params=spec.method_params, num_labels=num_labels, sizes=one,
            precision=spec.precision,
        )  # fmt: skip
        return predict(work, scored).peak

    return max(map(peak, _largest(sizes)))


def _largest(sizes: set[BatchSizes]) -> list[BatchSizes]:
    """Return the sizes that no other ones reach in everything that memory depends on."""
    kept: list[BatchSizes] = []
    for one in sorted(sizes, key=astuple, reverse=True):
        if not any(all(a >= b for a, b in zip(astuple(other), astuple(one), strict=True)) for other in kept):
            kept.append(one)
    return kept
