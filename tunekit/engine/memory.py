"""Peak memory of a trial, predicted by the closed form and measured, of the GPU on CUDA and of the process on a CPU."""

import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tunekit.engine.member import LabelledSplit, batches
from tunekit.memory import NoClosedForm, Shape
from tunekit.memory.trial import trial_peak
from tunekit.schema import TrialSpec


def predicted_peak(
    spec: TrialSpec,
    config: Mapping[str, Any],
    splits: Mapping[str, LabelledSplit],
    num_labels: int,
    *,
    gpu: bool,
    with_graphs: bool = False,
) -> int | None:
    """Return the most bytes that training on any batch of any epoch, or scoring the longest sequences, takes.

    On a GPU these are the bytes that the trial allocates, and with ``with_graphs`` also the bytes that CUDA graphs keep
    in reserve. On a CPU they are the resident bytes of its process. ``config`` holds the values of the model's
    config.json. Returns None where the model or the method has no closed form.
    """
    train = splits["train"].tokens.lengths
    of_batches = (
        train[indices].tolist() for epoch in range(1, spec.epochs + 1) for indices in batches(len(train), spec, epoch)
    )
    longest = int(max(split.tokens.lengths.max() for split in splits.values()))
    num_scored = max(map(len, splits.values()))
    try:
        shape = Shape.from_config(config)
        return trial_peak(spec, shape, num_labels, of_batches, longest, num_scored, gpu=gpu, with_graphs=with_graphs)
    except NoClosedForm:
        return None


def reset_peak(device: torch.device) -> None:
    """Begin a new peak, so that a process that is used again does not report the peak of an earlier trial."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except PermissionError:
            return  # some containers forbid it: the peak is then that of the process's whole life


def used_bytes(device: torch.device) -> int:
    """Return the bytes in use now, to which a trial's predicted bytes are added.

    On CUDA they include the workspaces that its libraries take at their first matrix products. On a CPU they are 0,
    since the prediction covers the whole process.
    """
    if device.type != "cuda":
        return 0
    square = torch.zeros((16, 16), device=device, requires_grad=True)
    torch.addmm(square[0], square, square).sum().backward()  # type: ignore[no-untyped-call]
    del square
    return torch.cuda.memory_allocated(device)


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
