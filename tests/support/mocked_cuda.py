"""CUDA replaced on a machine without a GPU, so that code for GPUs runs on the CPU: the device is called ``cuda``.

Tensors that are asked for on ``cuda`` are made on the CPU, functions of ``torch.cuda`` say what an H100 would, and CUDA
graphs call what they have captured. Nothing that is measured so means anything.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from benchmarks.support.workers import Team, Worker, _serve
from tunekit.engine import train as engine_train

SAID = {
    "is_available": True,
    "get_device_name": "NVIDIA H100 80GB HBM3",
    "get_device_capability": (9, 0),
    "is_bf16_supported": True,
    "memory_reserved": 3 << 30,
    "memory_allocated": 2 << 30,
    "max_memory_allocated": 2 << 30,
    "reset_peak_memory_stats": None,
    "synchronize": None,
    "empty_cache": None,
}
"""What functions of ``torch.cuda`` return."""


class OnCpu(TorchFunctionMode):
    """Functions of torch, in this thread, that are asked for something on ``cuda`` make it on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not torch.device:  # a device keeps its name
            args, kwargs = tree_map(_on_cpu, (args, kwargs))
        return func(*args, **kwargs)


def _on_cpu(value: Any) -> Any:
    named = value == "cuda" if isinstance(value, str) else isinstance(value, torch.device) and value.type == "cuda"
    return torch.device("cpu") if named else value


class CallingGraphs:
    """Stands in for ``CudaGraphs``: a capture runs nothing, and a replay calls what was captured."""

    captured = 0

    def __init__(self, device: torch.device) -> None:
        assert device.type == "cuda"

    def stream(self) -> AbstractContextManager[None]:
        return nullcontext()

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        CallingGraphs.captured += 1
        return body


class OneAtATime:
    """A worker's end of its pipe. Of all threads only one runs, but for those that wait for their next turn here.

    Threads share torch's generator, from which models are initialised.
    """

    running = threading.Lock()

    def __init__(self, connection: Any) -> None:
        self.connection, self.send = connection, connection.send

    def recv(self) -> Any:
        self.running.release()
        try:
            return self.connection.recv()
        finally:
            self.running.acquire()


class ThreadWorker(Worker):
    """A worker of a benchmark that is a thread, which sees what is replaced in this process."""

    def __init__(self, threads: int, *, fresh: bool = False) -> None:
        self.connection, theirs = Pipe()

        def serve() -> None:
            try:
                with OneAtATime.running, OnCpu():
                    _serve(OneAtATime(theirs), threads)
            finally:
                theirs.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.process = SimpleNamespace(terminate=self.connection.close, join=thread.join)


class ThreadTeam(Team):
    """A team of such workers."""

    def __init__(self, size: int, threads: int, *, fresh: bool = False) -> None:
        self.workers = [ThreadWorker(threads) for _ in range(size)]


@contextmanager
def mocked_cuda() -> Iterator[pytest.MonkeyPatch]:
    """Replace CUDA for the time of the ``with`` block. Yield what further replacements can be made with."""
    with pytest.MonkeyPatch.context() as patched, OnCpu():
        for name, answer in SAID.items():
            patched.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        patched.setattr(engine_train, "CudaGraphs", CallingGraphs)
        patched.setattr(CallingGraphs, "captured", 0)
        try:
            yield patched
        finally:
            torch.use_deterministic_algorithms(False)
