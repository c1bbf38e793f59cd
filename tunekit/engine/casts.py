"""Trained weights in bf16, cast by one kernel for all of them, and their gradients cast back by one.

Autocast casts each weight by a kernel of its own, and each gradient back by another. The numbers are the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tunekit.engine.stacking import StackedLinear, is_stackable


class _CastAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _cast(weights, torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _cast(gradients, torch.float32)


def _cast(tensors: tuple[torch.Tensor, ...], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    found = [torch.empty(tensor.shape, dtype=dtype, device=tensor.device) for tensor in tensors]
    torch._foreach_copy_(found, list(tensors))
    return tuple(found)


class TrainedCasts:
    """The trained weights and biases of a model's linear modules, which are in bf16 while ``in_bf16`` is entered."""

    def __init__(self, model: nn.Module) -> None:
        """Other methods than those of ``is_stackable`` may use weights outside of products; theirs are left alone."""
        self._weights = [
            (module, name, parameter)
            for module in (model.modules() if is_stackable(model) else ())
            # A scale multiplies the weight before it is cast.
            if type(module) is nn.Linear or (type(module) is StackedLinear and module.scale is None)
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        ]

    @contextmanager
    def in_bf16(self) -> Iterator[None]:
        """Put the casts in the place of the parameters, for one forward pass."""
        if not self._weights:
            yield
            return
        casts = _CastAll.apply(*(parameter for _, _, parameter in self._weights))  # type: ignore[no-untyped-call]
        for (module, name, _), cast in zip(self._weights, casts, strict=True):
            del module._parameters[name]
            setattr(module, name, cast)
        try:
            yield
        finally:
            for module, name, parameter in self._weights:
                delattr(module, name)
                module.register_parameter(name, parameter)
