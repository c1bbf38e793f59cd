"""Dropout of hidden states, with the masks of ``tunekit.engine.kernels.masks``."""

from collections.abc import Iterator
from typing import Any

import torch

from tunekit.engine.kernels.choice import Operation, Setting, Version
from tunekit.engine.kernels.examples import example_dropout, example_sequences, example_tensor
from tunekit.engine.kernels.masks import Dropout, drop, row_draws


def dropout(x: torch.Tensor, spec: Dropout) -> torch.Tensor:
    """Return ``x`` (..., width) with entries dropped. Its rows are those of K * T tokens or of K * B sequences."""
    return DROPOUT.version(Setting(x.device, x.dtype, x.shape[-1]))(x, spec)


def plain(x: torch.Tensor, spec: Dropout) -> torch.Tensor:
    """Return what ``dropout`` returns, by plain PyTorch."""
    width = x.shape[-1]
    return drop(x, spec, row_draws(spec, x.numel() // width, width).view(x.shape))


def _fused(setting: Setting) -> Version:
    from tunekit.engine.kernels.fused.dropout import dropout as fused

    return fused


def _examples(setting: Setting) -> Iterator[tuple[Any, ...]]:
    sequences = example_sequences(setting)
    for rows in (len(sequences.token_sequence), len(sequences.starts)):
        yield example_tensor(setting, rows, setting.size, seed=0), example_dropout(sequences)


DROPOUT = Operation("dropout", plain, _fused, _examples)
