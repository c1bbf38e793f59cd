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
"""The time that the capture of a step takes (35 to 110 ms on an H100)."""
SAVED_SECONDS = 0.02
"""The time that a replayed step saves against an eager one, at least (33 to 50 ms on an H100)."""

Bucket = TypeVar("Bucket", bound=Hashable)


class Graphs(Protocol):
    """What records a step and replays it: CUDA's graphs, or a test's stand-in for them."""

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Record what ``body`` launches, which thereby does not run. Return the function that replays it.

        Raises RuntimeError where it can't be recorded.
        """

    def stream(self) -> AbstractContextManager[None]:
        """Return a context in which steps run, eager and replayed ones, after what was launched before it."""


class CudaGraphs:
    """CUDA graphs with one pool of memory, for steps on a stream of their own, since none can be recorded elsewhere."""

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

    ``body(bucket)`` launches a step whose shapes are the bucket's. It reads no tensor of the device and leaves none but
    those that it writes in place, so that its graphs may share memory and be replayed in any order.
    """

    def __init__(self, body: Callable[[Bucket], None], graphs: Graphs | None, note: Callable[[str], None]) -> None:
        """Without ``graphs`` every step runs eagerly. ``note`` is given a line where a step can't be captured."""
        self.body, self.graphs, self.note = body, graphs, note
        self._replays: dict[Bucket, Callable[[], None]] = {}
        self._warm: set[Bucket] = set()
        """The buckets of which a step ran eagerly, so that its kernels are compiled and the libraries warmed up."""

    def run(self, bucket: Bucket, left: int) -> None:
        """Run a step. ``left`` is the number of steps with this bucket that are left, this one with them.

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
