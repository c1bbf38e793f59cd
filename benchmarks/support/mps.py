"""NVIDIA's multi-process service (MPS), by which processes use a GPU side by side and not in turns."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.support.trial import Case, train_ours
from benchmarks.support.workers import Gate

CONTROL = "nvidia-cuda-mps-control"
SECONDS = 20
"""How long the service may take to start or to end."""


@contextmanager
def mps() -> Iterator[str | None]:
    """Run the service for the time of the ``with`` block. Yield the folder by which processes find it.

    Yield None where the driver does not have it or does not allow it.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        try:
            subprocess.run([CONTROL, "-d"], env=environment, capture_output=True, timeout=SECONDS, check=True)
            found = True
        except (OSError, subprocess.SubprocessError):
            found = False
        try:
            yield folder if found else None
        finally:
            if found:
                subprocess.run(
                    [CONTROL], input=b"quit\n", env=environment, capture_output=True, timeout=SECONDS, check=False
                )


def train_by_mps(gate: Gate, folder: str, case: Case, device: str) -> None:
    """Train one trial of ours through the service in ``folder``: a task of a worker that has not used the GPU yet."""
    os.environ["CUDA_MPS_PIPE_DIRECTORY"] = folder
    train_ours(gate, case, device)
