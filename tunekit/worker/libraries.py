"""Import the libraries that train trials, with Python's garbage collection turned off meanwhile."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Turn Python's garbage collection off, for imports.

    Imports make about a million objects, which stay. Searching them for garbage takes a tenth of the imports' time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Together the two calls move all objects to the oldest generation, where only a full collection looks.
        gc.freeze()
        gc.unfreeze()
        if enabled:
            gc.enable()


def load_libraries() -> None:
    """Import torch, transformers and the code that trains trials. A call in a process that has them does nothing."""
    if "tunekit.worker.attempt" in sys.modules:
        return
    with without_collection():
        import tunekit.worker.attempt  # noqa: F401
