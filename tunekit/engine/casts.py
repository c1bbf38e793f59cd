"""Trained weights in bf16, cast by one kernel for all of them, and their gradients cast back by one.

Autocast casts each weight by a kernel of its own, and each gradient back by another. The numbers are the same. The
casts lie in one tensor as the weights do in the flat buffers, so that neighbours there are neighbours here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tunekit.engine.buffers import Buffers
from tunekit.engine.stacking import StackedLinear, is_stackable


class _CastAll(torch.autograd.Function):
    """Columns of a flat tensor (K, P) in bf16, as views (K, ...) or (...) in the shapes of ``weights``."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, columns: Sequence[slice], *weights: torch.Tensor) -> tuple[Any, ...]:
        begin = min(one.start for one in columns)  # a model's embeddings, before it, stay in fp32
        cast = flat[:, begin : max(one.stop for one in columns)].to(torch.bfloat16)
        return tuple(
            cast[:, one.start - begin : one.stop - begin].view(weight.shape)
            for one, weight in zip(columns, weights, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found = [torch.empty(one.shape, dtype=torch.float32, device=one.device) for one in gradients]
        torch._foreach_copy_(found, list(gradients))
        return None, None, *found


class TrainedCasts:
    """The trained weights and biases of a model's linear modules, which are in bf16 while ``in_bf16`` is entered."""

    def __init__(self, model: nn.Module, buffers: Buffers) -> None:
        """``buffers`` hold the trained weights of ``model``.

        A method that is not stackable may use weights outside of products, so that its weights are not cast.
        """
        columns = {piece.name: piece.columns for piece in buffers.pieces}
        self._flat = buffers.weights
        self._weights = [
            (module, name, parameter, columns[f"{path}.{name}"])
            for path, module in (model.named_modules() if is_stackable(model) else ())
            # A scale multiplies the weight before it is cast.
            if type(module) is nn.Linear or (type(module) is StackedLinear and module.scale is None)
            for name, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        ]

    @contextmanager
    def in_bf16(self) -> Iterator[None]:
        """Replace the parameters by their casts for one forward pass."""
        if not self._weights:
            yield
            return
        parameters, columns = ([one[part] for one in self._weights] for part in (2, 3))
        casts = _CastAll.apply(self._flat, columns, *parameters)  # type: ignore[no-untyped-call]
        for (module, name, *_), cast in zip(self._weights, casts, strict=True):
            del module._parameters[name]
            setattr(module, name, cast)
        try:
            yield
        finally:
            for module, name, parameter, _ in self._weights:
                delattr(module, name)
                module.register_parameter(name, parameter)
