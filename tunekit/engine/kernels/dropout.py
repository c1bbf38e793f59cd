"""Dropout of hidden states, with the masks of ``tunekit.engine.kernels.masks``."""

import torch

from tunekit.engine.kernels.masks import Dropout, drop, row_draws


def dropout(x: torch.Tensor, spec: Dropout) -> torch.Tensor:
    """Return ``x`` (..., width) with entries dropped. Its rows are those of K * T tokens or of K * B sequences."""
    return plain(x, spec)


def plain(x: torch.Tensor, spec: Dropout) -> torch.Tensor:
    """Return what ``dropout`` returns, by plain PyTorch."""
    width = x.shape[-1]
    return drop(x, spec, row_draws(spec, x.numel() // width, width).view(x.shape))
