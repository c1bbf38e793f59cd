"""Peak memory of a trial, predicted by the closed form and measured: of the device on CUDA, else of this process."""

import resource
import sys
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import psutil
import torch

from tunekit.engine.host_steps import EVAL_TOKENS
from tunekit.engine.member import LabelledSplit, batches
from tunekit.memory import BatchSizes, Memory, NoClosedForm, Shape, Work, predict
from tunekit.schema import TrialSpec


def predicted_memory(
    spec: TrialSpec,
    config: Mapping[str, Any],
    splits: Mapping[str, LabelledSplit],
    num_labels: int,
    *,
    gpu: bool,
) -> Memory | None:
    """Return the memory of training on the largest batch of any epoch, and of scoring the longest sequences.

    ``config`` holds the values of the model's config.json. Return None where model or method have no closed form.
    """
    try:
        shape = Shape.from_config(config)
    except NoClosedForm:
        return None
    train = splits["train"].tokens.lengths
    sizes = {
        BatchSizes.from_lengths(train[indices].tolist(), gpu=gpu)
        for epoch in range(1, spec.epochs + 1)
        for indices in batches(len(train), spec, epoch)
    }
    longest = int(max(split.tokens.lengths.max() for split in splits.values()))
    scored = BatchSizes.from_lengths(
        (longest,) * max(1, min(EVAL_TOKENS // longest, max(map(len, splits.values())))), gpu=gpu
    )

    def memory(one: BatchSizes) -> Memory:
        work = Work(
            shape=shape, method=spec.method, params=spec.method_params, num_labels=num_labels, sizes=one,
            precision=spec.precision, gpu=gpu,
        )  # fmt: skip
        return predict(work, scored)

    try:
        return max(map(memory, _largest(sizes)), key=lambda one: one.peak)
    except NoClosedForm:
        return None


def _largest(sizes: set[BatchSizes]) -> list[BatchSizes]:
    """Return the sizes that no other ones reach in everything that memory depends on."""
    kept: list[BatchSizes] = []
    for one in sorted(sizes, key=astuple, reverse=True):
        if not any(all(a >= b for a, b in zip(astuple(other), astuple(one), strict=True)) for other in kept):
            kept.append(one)
    return kept


def reset_peak(device: torch.device) -> None:
    """Begin a new peak, so that a process that is used again does not report the peak of an earlier trial."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except PermissionError:
            return  # some containers forbid it: the peak is then the process's


def used_bytes(device: torch.device) -> int:
    """Return the bytes in use now, as ``peak_bytes`` counts them.

    On CUDA they include the workspaces that its libraries take at their first matrix products.
    """
    if device.type == "cuda":
        square = torch.zeros((16, 16), device=device, requires_grad=True)
        torch.addmm(square[0], square, square).sum().backward()  # type: ignore[no-untyped-call]
        del square
        return torch.cuda.memory_allocated(device)
    return host_bytes()[0]


def peak_bytes(device: torch.device) -> int:
    """Return the peak since ``reset_peak``: bytes allocated by torch on CUDA, bytes of resident memory on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_bytes() -> int:
    """Return the bytes of memory of the smallest GPU of this machine."""
    return min(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count()))


def host_bytes() -> tuple[int, int]:
    """Return the bytes of resident memory of this process, and the bytes that the machine has free."""
    resident, free = psutil.Process().memory_info().rss, psutil.virtual_memory().available
    return int(resident), int(free)
