"""The targets of methods that change linear modules only. LoRA can change embeddings, too."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def linear_targets(model: "nn.Module", targets: Sequence[str]) -> "dict[str, nn.Linear]":
    """Return the modules of ``model`` whose names are, or end with, one of ``targets``, by name.

    Raises ValueError where such a module is not linear.
    """
    from torch import nn

    found: dict[str, nn.Linear] = {}
    for name, module in model.named_modules():
        if any(name == target or name.endswith(f".{target}") for target in targets):
            if not isinstance(module, nn.Linear):
                raise ValueError(f"target_modules: {name} is no linear module")
            found[name] = module
    return found
