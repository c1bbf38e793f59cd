"""Linear modules that read the same input, by one product: queries, keys and values, and the first matrices of LoRA.

The weights of such modules lie side by side in memory: trained ones in the flat buffers (``tunekit.engine.buffers``),
frozen ones since ``lay_side_by_side``. So one view holds all of them, and neither weights nor outputs nor gradients are
copied. Sums of gradients are taken in another order than by a product for each module, so that only devices use this:
on a CPU the bits of stored trials stay as they are.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tunekit.engine.forward.modules import FlatSelfAttention, is_changed
from tunekit.engine.stacking import StackedLinear, linear


def joint_outputs(modules: Sequence[nn.Module], x: torch.Tensor) -> list[torch.Tensor]:
    """Return the output (K, T, n) of each of ``modules`` for the same ``x`` (K, T, H).

    One product computes them where all modules are linear ones, with or without LoRA, and their weights and biases lie
    side by side. Other modules are called one by one: DoRA, (IA)³ and VeRA use weights or outputs in other ways, and a
    plugin's method may have put a hook or a module of its own there.
    """
    found = _product(modules, x)
    if found is None:
        return [module(x) for module in modules]
    parts: Sequence[torch.Tensor] = _Split.apply(found, len(modules))  # type: ignore[no-untyped-call]
    return [part.view(*x.shape[:-1], -1) for part in parts]


def lay_side_by_side(model: nn.Module) -> None:
    """Move the frozen weights and biases of queries, keys and values of ``model`` side by side, layer by layer.

    The parameters stay the same objects, with the same numbers.
    """
    for attention in model.modules():
        if isinstance(attention, FlatSelfAttention):
            linears = [linear_of(module) for module in (attention.query, attention.key, attention.value)]
            for name in ("weight", "bias"):
                parameters: list[Any] = [getattr(one, name, None) for one in linears]
                if all(isinstance(one, nn.Parameter) and not one.requires_grad for one in parameters):
                    whole = torch.cat([one.data for one in parameters])
                    for one, part in zip(parameters, whole.chunk(len(parameters)), strict=True):
                        one.data = part


def joined(tensors: Sequence[torch.Tensor], axis: int) -> torch.Tensor | None:
    """Return the view of memory that holds ``tensors`` one after another along ``axis``; None where they lie apart.

    ``axis`` counts from the end. Tensors of different shapes or types are never joined.
    """
    first = tensors[0]
    step = first.shape[axis] * first.stride(axis)
    for number, one in enumerate(tensors):
        alike = (one.dtype, one.shape, one.stride()) == (first.dtype, first.shape, first.stride())
        together = one.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (alike and together and one.storage_offset() == first.storage_offset() + number * step):
            return None
    shape = list(first.shape)
    shape[axis] *= len(tensors)
    return first.as_strided(shape, first.stride(), first.storage_offset())


def _product(modules: Sequence[Any], x: torch.Tensor) -> torch.Tensor | None:
    """Return the outputs of ``modules`` side by side (rows, m * n), or None where each needs a product of its own."""
    linears = [linear_of(module) for module in modules]
    weight = _join([getattr(one, "weight", None) for one in linears], -2)
    biases = [getattr(one, "bias", None) for one in linears]
    bias = _join(biases, -1)
    if weight is None or (bias is None and any(one is not None for one in biases)):
        return None
    # Flattened first, since a product of x (K, T, H) is a view, which could not be added to in place without a copy.
    found = linear(x.flatten(0, -2), weight, bias)
    updated = [module for module in modules if hasattr(module, "lora_A")]
    if not updated:
        return found
    updates = dict(zip(updated, _updates(updated, x), strict=True))
    factors = [module.scaling[module.active_adapters[0]] if module in updates else None for module in modules]
    whole: torch.Tensor = _AddToParts.apply(found, factors, *map(updates.get, modules))  # type: ignore[no-untyped-call]
    return whole


def _updates(modules: Sequence[Any], x: torch.Tensor) -> list[torch.Tensor]:
    """Return what LoRA adds to the output of each of ``modules``, before it is multiplied by LoRA's scaling."""
    parts = [(one.lora_dropout[name], one.lora_A[name], one.lora_B[name]) for one in modules
             for name in one.active_adapters]  # fmt: skip
    dropouts, downs, ups = zip(*parts, strict=True)
    if all(type(dropout) is nn.Identity for dropout in dropouts):
        inner = joint_outputs(downs, x)
    else:  # each module drops other entries of its input
        inner = [down(dropout(x)) for down, dropout in zip(downs, dropouts, strict=True)]
    return [up(one) for up, one in zip(ups, inner, strict=True)]


def linear_of(module: Any) -> nn.Module | None:
    """Return ``module`` if it is linear, or the linear module that it adds LoRA to; None for any other module."""
    if is_changed(module):
        return None
    if type(module) is nn.Linear or (type(module) is StackedLinear and module.scale is None):
        return module
    if hasattr(module, "lora_A"):
        from peft.tuners.lora import Linear

        # A variant, such as DoRA, does not add B A x.
        plain = type(module) is Linear and not module.lora_variant and len(module.active_adapters) == 1
        if plain and not (module.merged or module.disable_adapters):
            return linear_of(module.base_layer)
    return None


def _join(tensors: Sequence[torch.Tensor | None], axis: int) -> torch.Tensor | None:
    """Return ``joined(tensors, axis)`` such that gradients flow back to ``tensors``; None where one of them is None."""
    whole = [one for one in tensors if one is not None]
    if len(whole) < len(tensors) or joined(whole, axis) is None:
        return None
    view: torch.Tensor = _Join.apply(axis, *whole)  # type: ignore[no-untyped-call]
    return view


class _Join(torch.autograd.Function):
    """The view ``joined``. The gradients of its parts are parts of its gradient."""

    @staticmethod
    def forward(ctx: Any, axis: int, *tensors: torch.Tensor) -> torch.Tensor | None:
        ctx.axis, ctx.number = axis, len(tensors)
        return joined(tensors, axis)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *grad.chunk(ctx.number, ctx.axis)


class _Split(torch.autograd.Function):
    """The equal parts of rows. Their gradients are joined without a copy where they lie side by side."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, number: int) -> tuple[torch.Tensor, ...]:
        return x.chunk(number, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        whole = joined(gradients, -1)
        return torch.cat(gradients, -1) if whole is None else whole, None


class _AddToParts(torch.autograd.Function):
    """Add to each of the equal parts of ``x`` (rows, m * n) its update times a factor, in place; None adds nothing.

    A sum in a new tensor would keep both in memory, since the caller goes on with parts of ``x``.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, factors: Sequence[float | None], *updates: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.factors, ctx.shapes = factors, [None if one is None else one.shape for one in updates]
        for part, factor, update in zip(x.chunk(len(factors), -1), factors, updates, strict=True):
            if update is not None:
                part.add_(update.reshape(part.shape), alpha=factor)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        parts = zip(grad.chunk(len(ctx.factors), -1), ctx.factors, ctx.shapes, strict=True)
        own = [
            None if shape is None else (part if factor == 1 else part * factor).reshape(shape)
            for part, factor, shape in parts
        ]
        return grad, None, *own
