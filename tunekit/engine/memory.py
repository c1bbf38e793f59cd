"""Measured peak memory of this process: the device's on CUDA, the resident set elsewhere."""

import resource
import sys
from pathlib import Path

import psutil
import torch


def reset_peak(device: torch.device) -> None:
    """Begin a new peak, so that a re-used process does not report the last trial's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except PermissionError:
            return  # some containers forbid it: the peak is then the process's


def used_bytes(device: torch.device) -> int:
    """What ``peak_bytes`` counts, now: on CUDA with the workspaces that its libraries take at their first products."""
    if device.type == "cuda":
        square = torch.zeros((16, 16), device=device, requires_grad=True)
        torch.addmm(square[0], square, square).sum().backward()
        del square
        return torch.cuda.memory_allocated(device)
    return host_bytes()[0]


def peak_bytes(device: torch.device) -> int:
    """Peak since ``reset_peak``: bytes allocated by torch on CUDA, bytes of resident memory on CPU."""
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
    """Memory of the smallest GPU here."""
    return min(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count()))


def host_bytes() -> tuple[int, int]:
    """Resident memory of this process, and what the machine has free."""
    return psutil.Process().memory_info().rss, psutil.virtual_memory().available
