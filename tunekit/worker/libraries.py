"""Import the libraries that train trials, in a process that does nothing else, without what training never calls.

Half of what transformers would import is for other uses. A process that imports it all takes about twice the time to
start and 200 MiB more memory.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

UNUSED = ("sklearn", "scipy", "opentelemetry", "boto3")
"""Libraries that transformers and accelerate import where they are installed, and that neither calls in training.

transformers has scikit-learn for generation with an assistant, scipy for the losses of object detection, and
OpenTelemetry for a server's statistics. accelerate has boto3 for its questionnaire.
"""


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
        if not gc.get_freeze_count():  # unfreezing would also bring back what the process keeps out of collections
            # Together the two calls move all objects to the oldest generation, where only a full collection looks.
            gc.freeze()
            gc.unfreeze()
        if enabled:
            gc.enable()


def load_libraries() -> None:
    """Import torch, transformers and the code that trains trials. A call in a process that has them does nothing.

    From then on transformers takes scikit-learn and scipy as not installed, and every library takes torch as a build
    without distributed training. The call is therefore for a process of our own, never for that of a notebook. All
    other code can import what was left out, torch's compiler among it.
    """
    if "tunekit.worker.attempt" in sys.modules:
        return
    with without_collection(), _replaced(dict.fromkeys(UNUSED)):
        import torch  # first: its own imports must not find the modules that stand in for its compiler

        torch.distributed.is_available = lambda: False
        try:
            with _replaced(_compiler()):
                _import_training()
        except ImportError:  # a version of torch that asks more of its compiler gets the real one
            _import_training()
    # The collection of garbage at the end of each trial would search everything that the libraries hold.
    gc.freeze()


def _import_training() -> None:
    from transformers import GenerationMixin  # noqa: F401  (every model's file imports it)

    import tunekit.worker.attempt  # noqa: F401


@contextmanager
def _replaced(modules: dict[str, ModuleType | None]) -> Iterator[None]:
    """Have imports find ``modules`` in place of those installed, but for those that were imported before.

    A name that is mapped to None can't be imported, as if nothing of that name were installed.
    """
    table: dict[str, Any] = sys.modules
    added = {name: module for name, module in modules.items() if name not in table}
    table.update(added)
    try:
        yield
    finally:
        for name in added:
            del table[name]


def _compiler() -> dict[str, ModuleType | None]:
    """Return modules that stand in for torch's compiler while transformers is imported, by their names.

    transformers asks the compiler for two decorators, which exclude functions from compilation, and for a context
    manager for masks of decoders. Here the decorators leave a function as it is, and the context manager imports the
    compiler when it is used.
    """

    def unchanged(function: Any = None, *_: object, **__: object) -> Any:
        return unchanged if function is None else function

    def transform_get_item_to_index() -> Any:
        from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex

        return TransformGetItemToIndex()

    compiler, masks = ModuleType("torch._dynamo"), ModuleType("torch._dynamo._trace_wrapped_higher_order_op")
    vars(compiler).update(__path__=[], allow_in_graph=unchanged, disable=unchanged)
    vars(masks).update(TransformGetItemToIndex=transform_get_item_to_index)
    return {module.__name__: module for module in (compiler, masks)}
