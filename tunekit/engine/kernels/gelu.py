"""The sum of a linear module's product and its bias, and GELU of it (Hendrycks and Gimpel, 2016)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from tunekit.engine.kernels.choice import Operation, Setting, Version
from tunekit.engine.kernels.examples import example_tensor, weight_type
from tunekit.engine.kernels.residual_norm import check_weight, per_row


def bias_gelu(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return ``gelu(x + bias)`` in the type of ``x`` (..., F), with the erf form of GELU, which BERT calls "gelu".

    ``bias`` is (F,), or (K, F) where each of K trials has its own and ``x`` holds the rows of one trial after another.
    Without a bias it is ``gelu(x)``. Raises ValueError for a bias that doesn't fit the rows.
    """
    if bias is not None:
        check_weight(bias, x)
    return BIAS_GELU.version(Setting(x.device, x.dtype, x.shape[-1]))(x, bias)


def plain(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return what ``bias_gelu`` returns, by plain PyTorch."""
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    return F.gelu(exact if bias is None else exact + per_row(bias, exact)).to(x.dtype)


def _fused(setting: Setting) -> Version:
    from tunekit.engine.kernels.fused.gelu import bias_gelu as fused

    return fused


def _examples(setting: Setting) -> Iterator[tuple[Any, ...]]:
    x = example_tensor(setting, 2, 50, setting.size, seed=0)
    for kind in dict.fromkeys((weight_type(setting), setting.dtype)):
        for shape in ((setting.size,), (2, setting.size)):
            yield x, example_tensor(setting, *shape, seed=1, dtype=kind)
    yield x, None


BIAS_GELU = Operation("bias and GELU", plain, _fused, _examples)
