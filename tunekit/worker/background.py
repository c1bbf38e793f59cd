"""A call that runs beside the training, in one of the threads that this process has for such calls."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

THREADS = 8
"""The number of threads. Writing a record is mostly waiting for the disk, so the trials of a pack write together."""
_POOL = ThreadPoolExecutor(THREADS, "tunekit-records")


class BackgroundCall:
    """Runs one call at a time beside the caller's thread."""

    def __init__(self) -> None:
        self._call: Future[object] | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Begin to call ``work``. ``join`` or ``error`` must be called before the next start."""
        self._call = _POOL.submit(work)

    def join(self) -> None:
        """Wait until the call has ended, and raise its error."""
        call, self._call = self._call, None
        if call is not None:
            try:
                call.result()
            finally:
                del call  # it holds the error, whose traceback holds this frame: the failed call would stay in memory

    def error(self) -> BaseException | None:
        """Wait until the call has ended, and return its error."""
        call, self._call = self._call, None
        return None if call is None else call.exception()
