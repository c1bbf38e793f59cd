"""Equal bits from equal specs: what a process sets before it trains."""

import os

import torch


def be_deterministic(device: torch.device, threads: int) -> None:
    """Make equal specs give equal bits, by a fixed number of threads and, on CUDA, kernels without atomics."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        # cuBLAS reads it when the process first uses the GPU.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # Else every new tensor is filled with NaN by a kernel of its own, which shows reads of memory never written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
