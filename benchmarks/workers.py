"""Warm worker processes: each holds what it has built and does one turn of it on command."""

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

PRELOADED = ["benchmarks.trial", "benchmarks.peers"]


class Gate:
    """A worker's end of its pipe, where it waits between turns."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def wait(self) -> bool:
        """Wait for the next turn; False where the task ends."""
        goes_on: bool = self.connection.recv()
        return goes_on

    def done(self, result: object) -> None:
        """Hand over what the turn gave."""
        self.connection.send(result)


Task = Callable[..., None]
"""Takes a gate and what it trains; builds, then does a turn each time that the gate opens, until it says False."""


def _serve(connection: Connection, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    while (given := connection.recv()) is not None:
        task, arguments = given
        task(Gate(connection), *arguments)


class Worker:
    """A process with ``threads`` torch threads.

    ``fresh`` starts it from nothing and lets it import what its task needs and no more; else it comes from a server
    that has the libraries loaded.
    """

    def __init__(self, threads: int, *, fresh: bool = False) -> None:
        context: Any = multiprocessing.get_context("spawn" if fresh else "forkserver")
        if not fresh:
            context.set_forkserver_preload(PRELOADED)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
        self.process.start()
        theirs.close()

    def result(self) -> Any:
        """What the turn gave. Raises RuntimeError where the process died; its own error is on standard error."""
        try:
            return self.connection.recv()
        except EOFError as error:
            raise RuntimeError("a worker of the benchmark died; see its error above") from error

    def peak_bytes(self) -> int:
        """The most memory that the process has had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@dataclass(frozen=True)
class Turn:
    """What all workers of a team did between one command and the last reply."""

    results: tuple[Any, ...]
    seconds: float


class Team:
    """Workers that work at the same time, as one side of a benchmark; a context manager."""

    def __init__(self, size: int, threads: int, *, fresh: bool = False) -> None:
        self.workers = [Worker(threads, fresh=fresh) for _ in range(size)]

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self.workers:
            worker.process.terminate()
            worker.process.join()
            worker.connection.close()

    def hold(self, task: Task, arguments: Sequence[tuple[Any, ...]]) -> None:
        """Give each worker its task; its first turn waits for what must be built."""
        for worker, given in zip(self.workers, arguments, strict=True):
            worker.connection.send((task, given))

    def turn(self) -> Turn:
        """One turn of all workers at once."""
        start = perf_counter()
        for worker in self.workers:
            worker.connection.send(True)
        results = tuple(worker.result() for worker in self.workers)
        return Turn(results, perf_counter() - start)

    def release(self) -> None:
        """End the task; the workers stay."""
        for worker in self.workers:
            worker.connection.send(False)
