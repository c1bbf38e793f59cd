"""Worker processes that stay warm: each keeps what it has built, and trains one turn when it is told to."""

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

PRELOADED = ["benchmarks.support.trial", "benchmarks.support.peers"]


class Gate:
    """A worker's end of its pipe, where it waits between turns."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def wait(self) -> Any:
        """Wait for the next turn. Return True, or the function that was asked for, or False where the task ends."""
        return self.connection.recv()

    def done(self, result: object) -> None:
        """Send what the turn gave."""
        self.connection.send(result)


Task = Callable[..., None]
"""A task takes a gate and what it trains. It builds, then trains a turn each time the gate opens, until it closes."""


@dataclass(frozen=True)
class Failed:
    """What a worker sends where its task has raised an error, with which its process ends."""

    text: str


def _serve(connection: Connection, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    try:
        while True:
            task, arguments = connection.recv()
            task(Gate(connection), *arguments)
    except EOFError:
        return  # the end of the pipe is the end of the benchmark's own process
    except Exception:
        connection.send(Failed(traceback.format_exc()))
        raise


class Worker:
    """A process with ``threads`` torch threads.

    With ``fresh`` the process starts empty and imports only what its task needs. Without it, the process is forked from
    a server that has the libraries loaded.
    """

    def __init__(self, threads: int, *, fresh: bool = False) -> None:
        context: Any = multiprocessing.get_context("spawn" if fresh else "forkserver")
        if not fresh:
            context.set_forkserver_preload(PRELOADED)
        self.connection, theirs = context.Pipe()
        # No daemon, which could have no processes of its own: Trainer's data loader has some.
        self.process = context.Process(target=_serve, args=(theirs, threads))
        self.process.start()
        theirs.close()

    def result(self) -> Any:
        """Return what the turn gave. Raises RuntimeError, with the task's error, where the task failed."""
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise RuntimeError("a worker of the benchmark was ended from outside") from error
        if isinstance(found, Failed):
            raise RuntimeError(f"a worker of the benchmark failed:\n{found.text}")
        return found

    def peak_bytes(self) -> int:
        """Return the largest resident memory that the process has had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@dataclass(frozen=True)
class Turn:
    """What all workers of a team did between the command to train and the last reply."""

    results: tuple[Any, ...]
    seconds: float


class Team:
    """Workers that train at the same time, as one side of a benchmark. It is a context manager, which ends them."""

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
        """Give each worker its task. The first turn also takes the time that building takes."""
        for worker, given in zip(self.workers, arguments, strict=True):
            worker.connection.send((task, given))

    def turn(self, asked: Callable[[Any], Any] | None = None) -> Turn:
        """Let all workers train one turn at the same time, and return what they gave and the seconds.

        With ``asked``, a function of a module, workers that train packs of ours give instead what it returns of a pack.
        """
        start = perf_counter()
        for worker in self.workers:
            worker.connection.send(True if asked is None else asked)
        results = tuple(worker.result() for worker in self.workers)
        return Turn(results, perf_counter() - start)

    def release(self) -> None:
        """End the task of each worker. The workers stay and take another task."""
        for worker in self.workers:
            worker.connection.send(False)
