"""Methods whose modules the library ``adapters`` builds and runs, in its own forward pass on padded batches."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunekit.methods.base import freeze
from tunekit.models.families import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_adapter(model: "PreTrainedModel", config_of: Callable[[Any], Any]) -> None:
    """Add an adapter of the library to ``model``, in place, and freeze everything else.

    ``config_of`` is given the library's module and returns the adapter's configuration. Afterwards
    ``model.tunekit_adapter_config`` is the configuration that the library saves. Raises ValueError where the library is
    not installed, and for a model type that does not support adapters (``Family.bottlenecks``).
    """
    from tunekit.methods._bottleneck import NAME, PARALLEL_LAYOUTS

    kind = model.config.model_type
    if kind not in FAMILIES or FAMILIES[kind].bottlenecks not in PARALLEL_LAYOUTS:
        raise ValueError(f"bottlenecks are not supported in model type {kind!r}")
    try:
        import adapters
    except ImportError as error:
        raise ValueError("it needs the package adapters, which is not installed") from error
    # The library runs a model before its adapter is active, and warns of it.
    logging.getLogger("adapters").setLevel(logging.ERROR)
    adapted: Any = model
    config = config_of(adapters)
    adapters.init(adapted)
    freeze(model)
    adapted.add_adapter(NAME, config=config, set_active=True)
    adapted.tunekit_adapter_config = config.to_dict()
