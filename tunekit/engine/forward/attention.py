"""Self-attention over flat batches.

The input is hidden states (K, T, H). The output is contexts: the weighted sums of the values. Their shape is (K, T, H),
or (K, B, H) in the last layer, which computes them for the first tokens only. A sequence is computed with the others of
its group, but its queries see the keys of its own sequence only. ``tunekit.engine.forward`` explains the words and
letters.
"""

from typing import Any

import torch
from torch.nn import functional as F

from tunekit.engine.forward.dropout import apply_mask
from tunekit.engine.forward.flat_batch import FlatBatch, Group
from tunekit.engine.forward.modules import FlatSelfAttention


class _GatherRows(torch.autograd.Function):
    """Return ``x[index]``; the gradient is ``grad[inverse]`` times ``is_real``, which is faster than the usual sum.

    Usually the gradient of a row of x is the sum of the gradients of all its copies in the result. Here ``inverse``
    holds, for each row of x, the index of its one copy that is real. The other copies, which are rows of padding or
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


def gather_rows(
    x: torch.Tensor, index: torch.Tensor, inverse: torch.Tensor, is_real: torch.Tensor | None
) -> torch.Tensor:
    """Return ``x[index]``, with the gradient of ``_GatherRows``."""
    rows: torch.Tensor = _GatherRows.apply(x, index, inverse, is_real)  # type: ignore[no-untyped-call]
    return rows


class GroupedAttention:
    """Attention over one flat batch, for one ``FlatSelfAttention``, whose sizes and linear modules it uses."""

    def __init__(self, module: FlatSelfAttention, batch: FlatBatch, dropped: tuple[torch.Tensor, float] | None) -> None:
        """``dropped`` is the mask of all attention probabilities of the layer and its scale; None drops nothing.

        The mask is (P, A), or (K, T, A) in the last layer.
        """
        self.module, self.batch, self.dropped = module, batch, dropped

    def contexts(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the contexts of hidden states (K, T, H): (K, T, H), or (K, B, H) in the last layer."""
        module = self.module
        keys, values = self._in_slots(module.key(hidden)), self._in_slots(module.value(hidden))  # (S * A, D)
        if module.last:
            first = hidden.flatten(0, 1).index_select(0, self.batch.first_tokens)  # (K * B, H)
            # The query module gets (K, B, H), since in a pack it has weights of its own for each of the K trials.
            queries = self._in_groups(module.query(first.view(len(hidden), -1, hidden.shape[-1])))  # (K * B, A, D)
        else:
            queries = self._in_slots(module.query(hidden))  # (S * A, D)
        return self._contexts(queries, keys, values)

    def contexts_of_rows(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Return the contexts of queries, keys and values that are computed already.

        All are (K, T, H), but in the last layer queries and contexts are (K, B, H).
        """
        queries = self._in_groups(queries) if self.module.last else self._in_slots(queries)
        return self._contexts(queries, self._in_slots(keys), self._in_slots(values))

    def _contexts(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Return the contexts of slot rows (S * A, D). In the last layer queries are (K * B, A, D)."""
        module, batch = self.module, self.batch
        rows = [group.num_rows for group in batch.groups]
        query_rows = [group.num_sequences for group in batch.groups] if module.last else rows
        in_groups = zip(
            batch.groups, torch.split(queries, query_rows), torch.split(keys, rows), torch.split(values, rows),
            strict=True,
        )  # fmt: skip
        contexts = []
        for group, q, k, v in in_groups:
            shape = (group.num_sequences, module.heads, -1, module.head_size)  # (G, A, Q or L, D)
            contexts.append(self._attend(q.view(shape), k.view(shape), v.view(shape), group).flatten(0, -2))
        context = torch.cat(contexts)  # (S * A, D), or (K * B * A, D) in the last layer
        if module.last:
            # Sort the sequences back into the order of the batch.
            context = context.view(len(batch.length_order), -1).index_select(0, batch.length_ranks)  # (K * B, H)
            return context.view(len(batch.input_ids), batch.num_sequences, -1)
        context = gather_rows(context, batch.token_to_slot, batch.slot_to_token, batch.slot_is_real)  # (K * T * A, D)
        return context.view(*batch.input_ids.shape, -1)

    def _in_groups(self, queries: torch.Tensor) -> torch.Tensor:
        """Return the queries (K, B, H) of first tokens in the order of the groups, (K * B, A, D)."""
        rows = queries.reshape(-1, self.module.heads, self.module.head_size)
        return rows.index_select(0, self.batch.length_order)

    def _in_slots(self, x: torch.Tensor) -> torch.Tensor:
        """Return the slot rows (S * A, D) of all groups, copied from ``x`` (K, T, H)."""
        rows = x.reshape(-1, self.module.head_size)  # (K * T * A, D)
        return gather_rows(rows, self.batch.slot_to_token, self.batch.token_to_slot, self.batch.token_is_real)

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, group: Group) -> torch.Tensor:
        """Return the contexts (G, A, Q, D) of a group's queries (G, A, Q, D), with keys and values (G, A, L, D)."""
        module = self.module
        if self.dropped is None:
            bias = self._bias(group)
            bias = None if bias is None else bias.to(q.dtype)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        scores = torch.matmul(q * module.head_size**-0.5, k.transpose(-1, -2))  # (G, A, Q, L)
        bias = self._bias(group)
        if bias is not None:
            scores = scores.add_(bias)
        # The probabilities are computed in fp32 even under bf16, which is too coarse for them.
        scores = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        mask, scale = self.dropped
        # In the last layer the only query is the first token, so that each token, as a key, is in exactly one pair.
        index = group.token_index if module.last else group.pair_index  # (G, L), else (G, L, L)
        assert index is not None, "attention that drops probabilities asks for the indices of pairs"
        mask = mask.flatten(0, -2).index_select(0, index.flatten()).view(*index.shape, module.heads)  # (G, [Q,] L, A)
        mask = mask.unsqueeze(1) if module.last else mask  # (G, Q, L, A)
        return torch.matmul(apply_mask(scores, mask.permute(0, 3, 1, 2).contiguous(), scale), v)

    def _bias(self, group: Group) -> torch.Tensor | None:
        """Return the bias, (G or 1, 1, Q or 1, L) in fp32, that is added to the scores of a group; None for no bias.

        It hides padding and, where the layer has a window, the keys that are farther than that from their query.
        """
        window, length = self.module.window, group.length
        if window is None or length - 1 <= window:
            return group.padding_bias
        places = torch.arange(length, device=group.token_index.device)
        distances = places[None, :] - (places[:1] if self.module.last else places)[:, None]  # (Q, L)
        bias = distances.new_zeros((1, 1, 1, length), dtype=torch.float32)
        bias = (bias if group.padding_bias is None else group.padding_bias).masked_fill(
            distances.abs() > window, torch.finfo(torch.float32).min
        )
        # A query of padding sees itself at least: without any key, softmax would give NaN.
        return bias.masked_fill(distances == 0, 0.0)
