"""Self-attention over flat batches, which replaces the library's and uses its query, key and value modules.

The input is hidden states (K, T, H). The output is contexts: the weighted sums of the values. Their shape is (K, T, H),
or (K, B, H) in the last layer, which computes them for the first tokens only. A sequence is computed with the others of
its group, but its queries see the keys of its own sequence only. ``tunekit.engine.forward``
explains the words and letters.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tunekit.engine.forward.dropout import ForwardContext, MaskKind, apply_mask
from tunekit.engine.forward.flat_batch import FlatBatch, Group


class _GatherRows(torch.autograd.Function):
    """Return ``x[index]``; the gradient is ``grad[inverse]`` times ``is_real``, which is faster than the usual sum.

    Usually the gradient of a row of x is the sum of the gradients of all its copies in the result. Here ``inverse``
    has one index for each row of x: that of the copy of a real row. The other copies, which are rows of padding or
    filler, are left out: their gradient is 0, since no loss depends on them. ``is_real`` (rows of x, 1) is 0 for those
    rows of x that are themselves padding or filler, and makes their gradient 0. It is None where x has no such rows.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, index: torch.Tensor, inverse: torch.Tensor, is_real: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.inverse, ctx.is_real = inverse, is_real
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        grad = grad.index_select(0, ctx.inverse)
        return grad if ctx.is_real is None else grad.mul_(ctx.is_real.to(grad.dtype)), None, None, None


def _gather_rows(
    x: torch.Tensor, index: torch.Tensor, inverse: torch.Tensor, is_real: torch.Tensor | None
) -> torch.Tensor:
    rows: torch.Tensor = _GatherRows.apply(x, index, inverse, is_real)  # type: ignore[no-untyped-call]
    return rows


class FlatSelfAttention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017) within each sequence of the batch of ``context``.

    In the last layer only the first token of each sequence is a query, since the model's head reads no other token.
    """

    query: nn.Module
    key: nn.Module
    value: nn.Module

    def __init__(self, library: Any, context: ForwardContext, *, last: bool) -> None:
        """``library`` is the attention module that this one replaces. ``last`` says whether it is the last layer's."""
        super().__init__()
        self.query, self.key, self.value = library.query, library.key, library.value
        self.heads: int = library.num_attention_heads
        self.head_size: int = library.attention_head_size
        self.rate = float(library.dropout.p)
        self.context, self.last = context, last

    def forward(self, hidden: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return the contexts of hidden states (K, T, H), and None in place of the attention weights.

        The library's layer expects such a pair. The other arguments that it passes are ignored.
        """
        batch = self.context.flat_batch
        kind = MaskKind.TOKEN if self.last else MaskKind.PAIR
        dropped = self.context.next_mask(kind, self.heads, self.rate)
        keys, values = self._in_slots(self.key(hidden), batch), self._in_slots(self.value(hidden), batch)  # (S * A, D)
        if self.last:
            first = hidden.flatten(0, 1).index_select(0, batch.first_tokens)  # (K * B, H)
            # The query module gets (K, B, H), since in a pack it has weights of its own for each of the K trials.
            queries = self.query(first.view(len(hidden), -1, hidden.shape[-1]))  # (K, B, H)
            # Sort the sequences into the order of the groups: (K * B, A, D).
            queries = queries.view(-1, self.heads, self.head_size).index_select(0, batch.length_order)
        else:
            queries = self._in_slots(self.query(hidden), batch)  # (S * A, D)
        rows = [group.num_rows for group in batch.groups]
        query_rows = [group.num_sequences for group in batch.groups] if self.last else rows
        in_groups = zip(
            batch.groups, torch.split(queries, query_rows), torch.split(keys, rows), torch.split(values, rows),
            strict=True,
        )  # fmt: skip
        contexts = []
        for group, q, k, v in in_groups:
            shape = (group.num_sequences, self.heads, -1, self.head_size)  # (G, A, Q or L, D)
            contexts.append(self._attend(q.view(shape), k.view(shape), v.view(shape), group, dropped).flatten(0, -2))
        context = torch.cat(contexts)  # (S * A, D), or (K * B * A, D) in the last layer
        if self.last:
            # Sort the sequences back into the order of the batch.
            context = context.view(len(batch.length_order), -1).index_select(0, batch.length_ranks)  # (K * B, H)
            return context.view(len(hidden), batch.num_sequences, -1), None
        context = _gather_rows(context, batch.token_to_slot, batch.slot_to_token, batch.slot_is_real)  # (K * T * A, D)
        return context.view(*hidden.shape[:-1], -1), None

    def _in_slots(self, x: torch.Tensor, batch: FlatBatch) -> torch.Tensor:
        """Return the slot rows (S * A, D) of all groups, copied from ``x`` (K, T, H)."""
        rows = x.reshape(-1, self.head_size)  # (K * T * A, D)
        return _gather_rows(rows, batch.slot_to_token, batch.token_to_slot, batch.token_is_real)

    def _attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        group: Group,
        dropped: tuple[torch.Tensor, float] | None,
    ) -> torch.Tensor:
        """Return the contexts (G, A, Q, D) of a group's queries (G, A, Q, D), with keys and values (G, A, L, D).

        ``dropped`` is the mask of all attention probabilities of the layer and its scale; None where nothing is
        dropped. The mask is (P, A), or (K, T, A) in the last layer.
        """
        if dropped is None:
            bias = None if group.padding_bias is None else group.padding_bias.to(q.dtype)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        scores = torch.matmul(q * self.head_size**-0.5, k.transpose(-1, -2))  # (G, A, Q, L)
        if group.padding_bias is not None:
            scores = scores.add_(group.padding_bias)
        # The probabilities are computed in fp32 even under bf16, which is too coarse for them.
        scores = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        mask, scale = dropped
        # In the last layer the only query is the first token, so that each token, as a key, is in exactly one pair.
        index = group.token_index if self.last else group.pair_index  # (G, L), else (G, L, L)
        assert index is not None, "attention that drops probabilities asks for the indices of pairs"
        mask = mask.flatten(0, -2).index_select(0, index.flatten()).view(*index.shape, self.heads)  # (G, [Q,] L, A)
        mask = mask.unsqueeze(1) if self.last else mask  # (G, Q, L, A)
        return torch.matmul(apply_mask(scores, mask.permute(0, 3, 1, 2).contiguous(), scale), v)
