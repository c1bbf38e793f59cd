"""The operations of a forward pass on a flat batch, with the masks that the host has drawn for it."""

from typing import Any

import torch

from tunekit.engine.forward.attention import GroupedAttention
from tunekit.engine.forward.context import Operations
from tunekit.engine.forward.dropout import DropoutMasks, DropoutSite, MaskKind, apply_mask
from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.engine.kernels.masks import LEVELS


class HostOperations(Operations):
    """Operations on ``batch``. A use of dropout drops by the next of ``masks``; without masks nothing is dropped."""

    def __init__(
        self, batch: FlatBatch, masks: DropoutMasks | None, found_sites: list[DropoutSite] | None = None
    ) -> None:
        """``found_sites``, if it is given, is a list to which each use of dropout is appended."""
        self.batch, self.masks, self.found_sites = batch, masks, found_sites

    def attention(self, module: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Return the contexts of hidden states, computed in groups of sequences of similar lengths."""
        return self._grouped(module).contexts(hidden)

    def attention_of_rows(
        self, module: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Return the contexts of queries (K, T, H), or (K, B, H) in the last layer, with keys and values (K, T, H).

        ``module`` is a ``FlatRotaryAttention``.
        """
        return self._grouped(module).contexts_of_rows(queries, keys, values)

    def _grouped(self, module: Any) -> GroupedAttention:
        """Return the attention of a layer's ``module``, which drops probabilities by the next mask."""
        kind = MaskKind.TOKEN if module.last else MaskKind.PAIR
        return GroupedAttention(module, self.batch, self._next_mask(kind, module.heads, module.rate))

    def first_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the hidden states (K, B, H) of the first token of each sequence."""
        first = hidden.flatten(0, 1).index_select(0, self.batch.first_tokens)
        return first.view(len(hidden), -1, hidden.shape[-1])

    def means(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the mean (K, B, H) of the hidden states (K, T, H) of each sequence's tokens."""
        rows, found = hidden.flatten(0, 1), []
        for group in self.batch.groups:
            slots = rows.index_select(0, group.token_index.flatten()).view(*group.token_index.shape, -1)  # (G, L, H)
            if group.padding_bias is None:
                found.append(slots.mean(1))
            else:
                is_real = (group.padding_bias.view(*group.token_index.shape, 1) == 0).to(slots.dtype)  # (G, L, 1)
                found.append((slots * is_real).sum(1) / is_real.sum(1))
        means = torch.cat(found).index_select(0, self.batch.length_ranks)
        return means.view(len(hidden), -1, hidden.shape[-1])

    def dropout(self, x: torch.Tensor, rate: float) -> torch.Tensor:
        """Return ``x`` with entries dropped, by the next mask."""
        # The number of rows tells whether x has one row for each token or one for each sequence. The two numbers
        # differ, since a sequence has at least two tokens.
        rows = x.shape[:-1].numel()
        kind = MaskKind.TOKEN if rows == self.batch.input_ids.numel() else MaskKind.SEQUENCE
        dropped = self._next_mask(kind, x.shape[-1], rate)
        if dropped is None:
            return x
        mask, scale = dropped
        return apply_mask(x, mask.reshape(x.shape), scale)

    def _next_mask(self, kind: MaskKind, width: int, rate: float) -> tuple[torch.Tensor, float] | None:
        """Return the mask and the scale of the next use of dropout, or None where nothing is dropped.

        ``kind`` says what a row of the mask belongs to, and ``width`` is the number of entries of a row. ``rate`` is
        the probability with which an entry is dropped.
        """
        if self.found_sites is not None and rate > 0:
            self.found_sites.append(DropoutSite(kind, width, round(rate * LEVELS)))
        return None if self.masks is None or rate == 0 else self.masks.next(kind)
