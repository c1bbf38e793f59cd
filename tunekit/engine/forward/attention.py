"""Self-attention over flat batches, in the place of the libraries' own, with their query, key and value modules."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tunekit.engine.forward.dropout import ForwardContext, MaskKind, masked
from tunekit.engine.forward.flat_batch import FlatBatch, Group


class _Rearranged(torch.autograd.Function):
    """Rows of ``x`` by ``index``; the gradient is another look-up, since each row that counts appears exactly once."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, index: torch.Tensor, back: torch.Tensor, real: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.back, ctx.real = back, real
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        grad = grad.index_select(0, ctx.back)
        return grad if ctx.real is None else grad.mul_(ctx.real.to(grad.dtype)), None, None, None


class FlatSelfAttention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017) within each sequence of the context's batch.

    The last layer's attends from the first tokens alone, since nothing after it reads others.
    """

    def __init__(self, library: nn.Module, context: ForwardContext, *, last: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = library.query, library.key, library.value
        self.heads, self.head_size = library.num_attention_heads, library.attention_head_size
        self.rate = float(library.dropout.p)
        self.context, self.last = context, last

    def forward(self, hidden: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """(K, T, H) hidden states to (K, T, H) contexts, or (K, B, H) of first tokens in the last layer; no weights."""
        batch = self.context.batch
        dropped = self.context.next_mask(MaskKind.TOKEN if self.last else MaskKind.PAIR, self.heads, self.rate)
        keys, values = self._in_slots(self.key(hidden), batch), self._in_slots(self.value(hidden), batch)
        if self.last:
            first = hidden.flatten(0, 1).index_select(0, batch.first).view(len(hidden), -1, hidden.shape[-1])
            query = self.query(first).view(-1, self.heads, self.head_size).index_select(0, batch.order)
        else:
            query = self._in_slots(self.query(hidden), batch)
        rows = [group.rows for group in batch.groups]
        queries = query.split([group.sequences for group in batch.groups] if self.last else rows)
        contexts = []
        for group, q, k, v in zip(batch.groups, queries, keys.split(rows), values.split(rows), strict=True):
            shape = (group.sequences, self.heads, -1, self.head_size)
            contexts.append(self._attend(q.view(shape), k.view(shape), v.view(shape), group, dropped).flatten(0, -2))
        context = torch.cat(contexts)
        if self.last:
            context = context.view(len(batch.order), -1).index_select(0, batch.places)
            return context.view(len(hidden), batch.sequences, -1), None
        context = _Rearranged.apply(context, batch.token_rows, batch.slot_rows, batch.real_slots)
        return context.view(*hidden.shape[:-1], -1), None

    def _in_slots(self, x: torch.Tensor, batch: FlatBatch) -> torch.Tensor:
        """(K, T, heads * d) as the (slots * heads, d) of all groups."""
        return _Rearranged.apply(x.reshape(-1, self.head_size), batch.slot_rows, batch.token_rows, batch.real_tokens)

    def _attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        group: Group,
        dropped: tuple[torch.Tensor, float] | None,
    ) -> torch.Tensor:
        """(b, heads, queries, d) contexts of one group."""
        if dropped is None:
            bias = None if group.bias is None else group.bias.to(q.dtype)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        scores = torch.matmul(q * self.head_size**-0.5, k.transpose(-1, -2))
        if group.bias is not None:
            scores = scores.add_(group.bias)
        # bf16 is too coarse for probabilities.
        scores = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        mask, scale = dropped
        rows = group.tokens if self.last else group.pairs
        mask = mask.flatten(0, -2).index_select(0, rows.flatten()).view(*rows.shape, self.heads)
        mask = mask.unsqueeze(1) if self.last else mask  # (b, queries, L, heads)
        return torch.matmul(masked(scores, mask.permute(0, 3, 1, 2).contiguous(), scale), v)
