"""The peak memory of a trial: the bytes that it allocates on a GPU, or that its process takes on a CPU. No torch."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace

from tunekit.memory.closed_form import Memory, predict
from tunekit.memory.graph import Work
from tunekit.memory.length_groups import BatchSizes
from tunekit.models.families import FAMILIES
from tunekit.models.shapes import Shape
from tunekit.schema import TrialSpec
from tunekit.tasks import task_of

EVAL_TOKENS = 8192
"""The most tokens that a batch of scoring holds for one trial, including padding."""
PROCESS_BYTES = 530 * 2**20
"""The resident memory of a worker process beside its trial: Python, Ray, torch, transformers and the tokens.

Measured with the CPU build of torch 2.13 on Linux. Pages of the libraries' files, about a quarter, count in each
process, although processes share them.
"""
STEP, SCORING, GRADIENTS = 1.25, 1.1, 0.5
"""The bytes that a process keeps resident for each byte of a step's tensors, of scoring and of gradients.

They are fitted to measured peaks; ``python -m benchmarks memory`` measures others. Phases of training add up, since a
phase hands back only a part of its freed memory to the system, and the next phase asks for other sizes. Gradients take
a part of the memory that the step's tensors have freed.
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
    with_graphs: bool = False,
) -> int:
    """Return the most bytes that a trial of ``spec`` takes, whose model has ``shape``.

    ``batches`` are the lengths in tokens of the sequences of each training batch. ``longest`` is the length of the
    longest sequence that is scored, and ``num_scored`` the rows of the largest split. On a GPU the result counts the
    bytes that the trial allocates, and with ``with_graphs`` also those that CUDA graphs keep in reserve. On a CPU it
    counts the resident bytes of the process (``resident_bytes``). Raises NoClosedForm.
    """
    shape = shape_for(spec, shape)
    by_kernels = gpu and FAMILIES[shape.model_type].on_device  # else a GPU has the groups of a CPU
    sizes = {BatchSizes.from_lengths(lengths, gpu=by_kernels, window=shape.window) for lengths in batches}
    together = (longest,) * max(1, min(EVAL_TOKENS // longest, num_scored))
    scored = BatchSizes.from_lengths(together, gpu=by_kernels, window=shape.window)

    def bytes_of(one: BatchSizes) -> int:
        work = Work(
            shape=shape, method=spec.method, params=spec.method_params, num_labels=num_labels, sizes=one,
            precision=spec.precision, gpu=by_kernels,
        )  # fmt: skip
        memory = predict(work, scored)
        return (memory.needed if with_graphs else memory.peak) if gpu else resident_bytes(memory)

    return max(map(bytes_of, _largest(sizes)))


def shape_for(spec: TrialSpec, shape: Shape) -> Shape:
    """Return ``shape`` with the head that the task of ``spec`` gives the model."""
    return replace(shape, of_words=task_of(spec.dataset).of_words)


def resident_bytes(memory: Memory) -> int:
    """Return the most resident bytes of a process that trains one trial, whose closed form is ``memory``."""
    step = memory.activations + memory.logits + memory.workspace
    phases = STEP * step + SCORING * memory.scoring + GRADIENTS * memory.gradients
    return PROCESS_BYTES + memory.weights + memory.optimizer + int(phases)


def together_bytes(peak: int, trials: int, *, gpu: bool) -> int:
    """Return the most bytes that ``trials`` trials of ``peak`` bytes each take in one process."""
    beside = 0 if gpu else PROCESS_BYTES
    return beside + trials * (peak - beside)


def _largest(sizes: set[BatchSizes]) -> list[BatchSizes]:
    """Return the sizes without those that another one reaches in everything that memory depends on."""
    kept: list[BatchSizes] = []
    for one in sorted(sizes, key=astuple, reverse=True):
        if not any(all(a >= b for a, b in zip(astuple(other), astuple(one), strict=True)) for other in kept):
            kept.append(one)
    return kept
