"""The sum of a linear module's product and its bias, and GELU of it (Hendrycks and Gimpel, 2016)."""

import torch
from torch.nn import functional as F

from tunekit.engine.kernels.residual_norm import per_row


def bias_gelu(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return ``gelu(x + bias)`` in the type of ``x`` (..., F), with the erf form of GELU, which BERT calls "gelu".

    ``bias`` is (F,), or (K, F) where each of K trials has its own and ``x`` holds the rows of one trial after another.
    Without a bias it is ``gelu(x)``.
    """
    return plain(x, bias)


def plain(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return what ``bias_gelu`` returns, by plain PyTorch."""
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    return F.gelu(exact if bias is None else exact + per_row(bias, exact)).to(x.dtype)
