"""The end of each half of an encoder layer: dropout, the sum with the residual, and layer norm (Ba et al., 2016)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from tunekit.engine.kernels.choice import Operation, Setting, Version
from tunekit.engine.kernels.examples import both, example_sequences, example_tensor, weight_type
from tunekit.engine.kernels.masks import Dropout, drop, row_draws


def dropout_residual_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    spec: Dropout | None,
) -> torch.Tensor:
    """Return ``layer_norm(dropout(x) + residual)`` (..., H), in the type of ``residual`` (..., H).

    ``x`` (..., H) may have a coarser type, such as bf16; the sum and the norm are computed in fp32 or better. Both hold
    the rows of one trial after another. ``weight`` and ``bias`` are each (H,), or (K, H) where each of K trials has its
    own. ``spec`` is None where nothing is dropped. Raises ValueError for tensors that don't fit each other.
    """
    if x.shape != residual.shape:
        raise ValueError(f"the input {tuple(x.shape)} and the residual {tuple(residual.shape)} differ in shape")
    for one in (weight, bias):
        check_weight(one, x)
    version = RESIDUAL_NORM.version(Setting(x.device, x.dtype, x.shape[-1]))
    return version(x, residual, weight, bias, eps, spec)


def plain(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    spec: Dropout | None,
) -> torch.Tensor:
    """Return what ``dropout_residual_norm`` returns, by plain PyTorch."""
    width = x.shape[-1]
    exact = torch.promote_types(residual.dtype, torch.float32)
    x = x.to(exact)
    if spec is not None:
        x = drop(x, spec, row_draws(spec, x.numel() // width, width).view(x.shape))
    normed = F.layer_norm(x + residual.to(exact), (width,), eps=eps)
    return (normed * per_row(weight, normed) + per_row(bias, normed)).to(residual.dtype)


def check_weight(weight: torch.Tensor, x: torch.Tensor) -> None:
    """Raise ValueError unless ``weight`` is (n,), or (K, n) with K trials that share the rows of ``x`` (..., n)."""
    own = weight.shape[:-1]
    if weight.shape[-1] != x.shape[-1] or len(own) > 1 or x.shape[:-1].numel() % own.numel():
        raise ValueError(f"weights {tuple(weight.shape)} don't fit rows {tuple(x.shape)}")


def per_row(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return ``weight``, (n,) or (K, n), in a shape that broadcasts to the rows of ``x`` (..., n) and in its type.

    With (K, n) the first 1 / K of the rows get the first trial's weights, and so on.
    """
    if weight.dim() == 1:
        return weight.to(x.dtype)
    num_rows = x.shape[:-1].numel()
    rows = weight.to(x.dtype)[:, None].expand(-1, num_rows // len(weight), -1)
    return rows.reshape(x.shape)


def _fused(setting: Setting) -> Version:
    from tunekit.engine.kernels.fused.residual_norm import dropout_residual_norm as fused

    return fused


def _examples(setting: Setting) -> Iterator[tuple[Any, ...]]:
    sequences, exact = example_sequences(setting), weight_type(setting)
    rows = len(sequences.token_sequence)
    for residual_type in dict.fromkeys((exact, setting.dtype)):
        for shape, dropout in zip(((setting.size,), (2, setting.size)), both(sequences), strict=True):
            x = example_tensor(setting, rows, setting.size, seed=0)
            residual = example_tensor(setting, rows, setting.size, seed=1, dtype=residual_type)
            weight, bias = (example_tensor(setting, *shape, seed=seed, dtype=exact) for seed in (2, 3))
            yield x, residual, weight, bias, 1e-5, dropout


RESIDUAL_NORM = Operation("dropout, residual sum and layer norm", plain, _fused, _examples)
