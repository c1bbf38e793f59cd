"""The operations of a forward pass on a device batch, by the kernels of ``tunekit.engine.kernels``."""

from collections.abc import Iterator
from typing import Any

import torch

from tunekit.engine.forward.attention import gather_rows
from tunekit.engine.forward.context import Operations
from tunekit.engine.forward.device_batch import DeviceBatch
from tunekit.engine.forward.dropout import DropoutSites
from tunekit.engine.forward.joint_linear import joint_outputs, linear_of
from tunekit.engine.kernels.attention import attention
from tunekit.engine.kernels.dropout import dropout
from tunekit.engine.kernels.gelu import bias_gelu
from tunekit.engine.kernels.masks import Dropout, DropoutKeys
from tunekit.engine.kernels.residual_norm import dropout_residual_norm
from tunekit.engine.stacking import linear


class DeviceOperations(Operations):
    """Operations on ``batch``. Dropout follows ``keys``; without keys nothing is dropped."""

    def __init__(self, batch: DeviceBatch, sites: DropoutSites, keys: DropoutKeys | None, precision: str) -> None:
        self.sequences, self.tf32 = batch.sequences, precision == "tf32"
        self._sites: Iterator[Dropout] = iter(
            [
                Dropout(site=number, dropping_levels=site.dropping_levels, keys=keys, sequences=batch.sequences)
                for number, site in enumerate(sites.sites)
            ]
            if keys is not None
            else ()
        )
        self._drops = keys is not None

    def _next_dropout(self, rate: float) -> Dropout | None:
        """Return the next use of dropout, or None where nothing is dropped."""
        return next(self._sites) if self._drops and rate > 0 else None

    def attention(self, module: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Return the contexts of hidden states, with keys and values read where they lie."""
        spec, shape = self._next_dropout(module.rate), (-1, module.heads, module.head_size)
        if module.last:
            queries = module.query(self.first_tokens(hidden))  # (K, B, H)
            keys, values = joint_outputs([module.key, module.value], hidden)  # (K, T, H)
        else:
            queries, keys, values = joint_outputs([module.query, module.key, module.value], hidden)
        contexts = attention(
            queries.view(shape), keys.view(shape), values.view(shape), self.sequences,
            first_only=module.last, dropout=spec, tf32=self.tf32,
        )  # fmt: skip
        return contexts.view(queries.shape)

    def first_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the hidden states (K, B, H) of the first token of each sequence."""
        at, rows = self.sequences, hidden.flatten(0, 1)
        found = at.rows(len(rows))  # of all K * T tokens
        sequence = found.trial * at.num_sequences + found.sequence.clamp(max=at.num_sequences - 1)
        is_first = (found.place == 0) & (found.sequence < at.num_sequences)
        first = gather_rows(rows, at.starts, sequence, is_first[:, None])
        return first.view(len(hidden), -1, hidden.shape[-1])

    def dropout(self, x: torch.Tensor, rate: float) -> torch.Tensor:
        """Return ``x`` with entries dropped, by the counters of the next use of dropout."""
        spec = self._next_dropout(rate)
        return x if spec is None else dropout(x, spec)

    def residual_norm(self, x: torch.Tensor, residual: torch.Tensor, norm: Any, rate: float) -> torch.Tensor:
        """Return the layer norm of ``residual`` and the dropped ``x`` in one kernel."""
        return dropout_residual_norm(x, residual, norm.weight, norm.bias, norm.eps, self._next_dropout(rate))

    def linear_gelu(self, dense: Any, x: torch.Tensor) -> torch.Tensor:
        """Return GELU of ``dense(x)``. GELU's kernel adds the bias, unless a method changes the module's output."""
        own: Any = linear_of(dense)
        if own is not dense or own.bias is None:  # LoRA adds to it, or a method has hooked it
            return bias_gelu(dense(x), None)
        product = linear(x, own.weight, None)
        return bias_gelu(product, own.bias.to(product.dtype))
