"""Multi-head attention (Vaswani et al., 2017) within each sequence of a batch that holds no padding.

Sequences are read by their offsets, so that nothing is gathered. The softmax is computed in fp32 or better, whatever
the type of the queries, keys and values.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from tunekit.engine.kernels.batch import Sequences
from tunekit.engine.kernels.choice import Operation, Setting, Version
from tunekit.engine.kernels.examples import both, example_sequences, example_tensor
from tunekit.engine.kernels.masks import Dropout, draws, drop


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    *,
    first_only: bool,
    dropout: Dropout | None,
    tf32: bool,
) -> torch.Tensor:
    """Return the contexts of the queries ``q``, in q's shape and type: weighted sums of the values.

    ``k`` and ``v`` are (K * T, A, D). ``q`` is too, or with ``first_only`` (K * B, A, D): the queries of the sequences'
    first tokens. Any of them may be a part of a wider tensor, with a stride of its own from token to token. Contexts
    and gradients of filler are 0. Scores are products times ``D ** -0.5``. ``dropout`` drops probabilities; None drops
    nothing. ``tf32`` says whether products of fp32 numbers may be computed in TF32. Raises ValueError for tensors that
    don't fit the batch.
    """
    tokens, queries = len(sequences.token_sequence), len(sequences.starts if first_only else sequences.token_sequence)
    if k.shape != v.shape or k.shape != (tokens, *q.shape[1:]) or len(q) != queries:
        raise ValueError(
            f"queries {tuple(q.shape)}, keys {tuple(k.shape)} and values {tuple(v.shape)} don't fit a batch of "
            f"{tokens} tokens with {queries} queries"
        )
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"queries, keys and values of one type are needed, not {q.dtype}, {k.dtype} and {v.dtype}")
    if dropout is not None and dropout.sequences is not sequences:
        raise ValueError("the dropout is that of another batch")
    operation = FIRST_TOKEN_ATTENTION if first_only else ATTENTION
    return operation.version(Setting(q.device, q.dtype, q.shape[-1], tf32))(q, k, v, sequences, dropout)


def plain(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sequences: Sequences,
    dropout: Dropout | None,
    *,
    first_only: bool = False,
) -> torch.Tensor:
    """Return what ``attention`` returns, by plain PyTorch, which pads each sequence to the longest.

    PyTorch decides by its own settings whether products are in TF32.
    """
    heads, head_size = k.shape[1:]
    num_slots = len(sequences.starts) * sequences.longest
    exact = torch.promote_types(q.dtype, torch.float32)
    slots = _Slots(sequences)
    in_slots = (len(sequences.starts), sequences.longest, heads, head_size)
    keys, values = (_gather(x, slots.of_slots, slots.of_tokens).view(in_slots).transpose(1, 2) for x in (k, v))
    if first_only:
        queries = q[:, :, None]  # (K * B, A, 1, D)
    else:
        queries = _gather(q, slots.of_slots, slots.of_tokens).view(in_slots).transpose(1, 2)  # (K * B, A, L, D)
    # Products of bf16 numbers are exact in fp32, so that these are products in bf16 with sums in fp32.
    scores = queries.to(exact) @ keys.to(exact).transpose(-1, -2) * head_size**-0.5  # (K * B, A, Q, L)
    scores = scores.masked_fill(~slots.is_real[:, None, None], -torch.inf)
    probabilities = scores.softmax(-1)
    if dropout is not None:
        probabilities = drop(probabilities, dropout, _pair_draws(dropout, scores))
    contexts: torch.Tensor = (probabilities.to(q.dtype).to(exact) @ values.to(exact)).to(q.dtype)  # (K * B, A, Q, D)
    if first_only:
        return contexts.squeeze(2)
    return _gather(contexts.transpose(1, 2).reshape(num_slots, heads, head_size), slots.of_tokens, slots.of_slots)


def _fused(setting: Setting) -> Version:
    from tunekit.engine.kernels.fused.attention import attention as fused

    return partial(fused, tf32=setting.tf32)


def _fused_first_only(setting: Setting) -> Version:
    from tunekit.engine.kernels.fused.first_token import first_token_attention

    return first_token_attention


def _examples(setting: Setting, *, first_only: bool) -> Iterator[tuple[Any, ...]]:
    for dropout in both(sequences := example_sequences(setting)):
        rows = len(sequences.starts if first_only else sequences.token_sequence)
        queries = example_tensor(setting, rows, 2, setting.size, seed=0)
        keys_and_values = example_tensor(setting, len(sequences.token_sequence), 2, 2, setting.size, seed=1)
        yield queries, *keys_and_values.unbind(1), sequences, dropout


ATTENTION = Operation("attention", plain, _fused, partial(_examples, first_only=False))
FIRST_TOKEN_ATTENTION = Operation(
    "attention of first tokens", partial(plain, first_only=True), _fused_first_only, partial(_examples, first_only=True)
)


def _pair_draws(dropout: Dropout, scores: torch.Tensor) -> torch.Tensor:
    """Return the draws of all pairs of a query and a key, in the shape of ``scores`` (K * B, A, Q, L)."""
    num_sequences, heads, queries, keys = scores.shape
    sequence = torch.arange(num_sequences, device=scores.device)[:, None, None]
    head = torch.arange(heads, device=scores.device)[:, None]
    place = torch.arange(queries, device=scores.device)
    own = dropout.sequences.num_sequences
    return draws(dropout, sequence // own, sequence % own, head, place, keys)


class _Slots:
    """The L slots that ``plain`` gives each of the K * B sequences, with L = ``longest``, and the tokens in them."""

    def __init__(self, sequences: Sequences) -> None:
        place = torch.arange(sequences.longest, device=sequences.starts.device)
        self.is_real = place < sequences.lengths[:, None]  # (K * B, L)
        token = torch.where(self.is_real, sequences.starts[:, None] + place, 0)
        self.of_slots = token.flatten(), self.is_real.flatten()
        """The token (K * B * L,) that each slot holds, and whether it holds one."""
        rows = sequences.rows(len(sequences.token_sequence))
        in_sequence = rows.sequence < sequences.num_sequences  # (K * T,)
        slot = (rows.trial * sequences.num_sequences + rows.sequence) * sequences.longest + rows.place
        self.of_tokens = torch.where(in_sequence, slot, 0), in_sequence
        """The slot (K * T,) that each token lies in, and whether it lies in one: filler does not."""


Index = tuple[torch.Tensor, torch.Tensor]


class _Gather(torch.autograd.Function):
    """Take rows by an index, 0 where it holds none. The gradient takes rows by the inverse index, without a sum."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, index: Index, inverse: Index) -> torch.Tensor:
        ctx.inverse = inverse
        return _take(x, index)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _take(grad, ctx.inverse), None, None


def _take(x: torch.Tensor, index: Index) -> torch.Tensor:
    row, is_real = index
    return torch.where(is_real.view(-1, *[1] * (x.dim() - 1)), x.index_select(0, row), 0.0)


def _gather(x: torch.Tensor, index: Index, inverse: Index) -> torch.Tensor:
    rows: torch.Tensor = _Gather.apply(x, index, inverse)  # type: ignore[no-untyped-call]
    return rows
