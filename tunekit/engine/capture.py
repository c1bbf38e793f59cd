"""Steps that are replayed as CUDA graphs where that pays, and run eagerly where it does not.

An eager step keeps the host busy for ten times as long as the GPU. A CUDA graph of the step is launched at once. Graphs
need static shapes, so there is one for each bucket of shapes, and all of them share one pool of memory.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, Protocol, TypeVar

import torch

from tunekit.errors import first_line

CAPTURE_SECONDS = 0.11
"""The most time that the capture of a step takes (35 to 110 ms were measured on an H100)."""
SAVED_SECONDS = 0.02
"""The least time that a replayed step saves against an eager one (33 to 50 ms were measured on an H100)."""

Bucket = TypeVar("Bucket", bound=Hashable)


class Graphs(Protocol):
    """An object that records steps and replays them: CUDA's graphs, or a test's stand-in for them."""

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Record what ``body`` launches, which thereby does not run. Return the function that replays it.

        Raises RuntimeError where it can't be recorded.
        """

    def stream(self) -> AbstractContextManager[None]:
        """Return a context in which eager and replayed steps run, after all work that was launched before it."""


class CudaGraphs:
    """CUDA graphs that share one pool of memory. Steps run on their own stream: the default one can't be captured."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Record ``body`` as a graph. Other threads of the process may use CUDA meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            body()
        replay: Callable[[], None] = graph.replay
        return replay

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Run steps on the stream of the graphs, in order with what the caller's stream does before and after."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


class Replayer(Generic[Bucket]):
    """Runs steps of ``body``, each by its bucket.

    ``body(bucket)`` launches a step whose shapes are the bucket's. It copies no tensor to the host, and writes its
    results into existing tensors, so that its graphs may share memory and be replayed in any order.
    """

    def __init__(self, body: Callable[[Bucket], None], graphs: Graphs | None, note: Callable[[str], None]) -> None:
        """Without ``graphs`` every step runs eagerly. ``note`` is given a line where a step can't be captured."""
        self.body, self.graphs, self.note = body, graphs, note
        self._replays: dict[Bucket, Callable[[], None]] = {}
        self._warm: set[Bucket] = set()
        """The buckets of which a step ran eagerly, so that its kernels are compiled and the libraries warmed up."""

    def run(self, bucket: Bucket, left: int) -> None:
        """Run a step. ``left`` is the number of steps with this bucket that are left, including this one.

        The first step of a bucket runs eagerly. A later one is captured, and then replayed, if that pays.
        """
        if bucket not in self._replays and bucket in self._warm and left * SAVED_SECONDS > CAPTURE_SECONDS:
            self._capture(bucket)
        if bucket in self._replays:
            self._replays[bucket]()
        else:
            self.body(bucket)
            self._warm.add(bucket)

    def _capture(self, bucket: Bucket) -> None:
        if self.graphs is not None:
            try:
                self._replays[bucket] = self.graphs.capture(lambda: self.body(bucket))
            except RuntimeError as error:
                self.graphs = None
                self.note(f"steps run eagerly, without CUDA graphs: {first_line(error)}")
