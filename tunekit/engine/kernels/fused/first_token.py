"""Attention whose only query in each sequence is its first token, as in the last layer.

A program has one head of one sequence. With a single query there is no product of matrices: scores are sums over the
columns of a block of keys, so that they are computed in fp32 even where other products are in TF32. The program has all
keys of its sequence, so that the backward pass is one kernel.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from tunekit.engine.kernels.batch import Sequences
from tunekit.engine.kernels.fused.launch import accumulator_type
from tunekit.engine.kernels.fused.masks import RUNTIME_ONLY, draws, load_key
from tunekit.engine.kernels.fused.sequence_tiles import (
    Batch,
    clear_filler,
    load_block,
    rows_of_heads,
    rows_side_by_side,
    span_of_program,
    store_tile,
)
from tunekit.engine.kernels.masks import Dropout

BLOCK = 32
"""Keys of a block, as in ``tunekit.engine.kernels.fused.attention``."""
NUM_WARPS = 2
"""Of 32 threads each. With D = 64 a block's keys and values take 64 of the 255 registers that a thread can have."""

_runtime = (*RUNTIME_ONLY, "num_sequences")


@triton.jit
def _scores(query, keys, key_place, length, D: tl.constexpr):
    """Return the scores (BLOCK,) of the query (BLOCK_D,) with keys (BLOCK, BLOCK_D): -inf after the sequence's end."""
    products = tl.sum(keys * query[None, :], 1)
    return tl.where(key_place < length, products * (D**-0.5), float("-inf"))


@triton.jit
def _kept(mask_key, sequence, first_key, dropping_levels, BLOCK: tl.constexpr):
    """Return which probabilities (BLOCK,) of the query at place 0 dropout keeps."""
    word1 = ((sequence << 16) | tl.program_id(1)).to(tl.uint32)
    drawn = draws(mask_key, tl.zeros((1,), tl.int32), word1, first_key, BLOCK)  # (1, BLOCK)
    return tl.reshape(drawn, (BLOCK,)) >= dropping_levels


@triton.jit(do_not_specialize=_runtime)
def _forward(
    q, k, v, out, log_sums, starts, lengths, seeds, steps, part, q_stride, k_stride, v_stride, num_sequences,
    num_tokens, site, dropping_levels, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write the context of the query, and the logarithm of its sum of exponentials."""
    trial, sequence, start, length = span_of_program(starts, lengths, num_sequences, num_tokens)
    if sequence < num_sequences:
        head, heads = tl.program_id(1), tl.num_programs(1)
        column = tl.arange(0, BLOCK_D)
        row = trial * num_sequences + sequence  # of the query and of its context
        if DROPOUT:
            mask_key = load_key(seeds, steps, part, site, trial)
        query = tl.load(q + row.to(tl.int64) * q_stride + head * D + column, column < D, 0.0).to(ACC)
        # As in ``fused.attention``, but scalars and a row where that has columns and tiles.
        highest = tl.full((), float("-inf"), ACC)
        total = tl.zeros((), ACC)
        context = tl.zeros((BLOCK_D,), ACC)
        for first_key in range(0, length, BLOCK):
            key_place, keys, values = load_block(k, v, start, first_key, length, k_stride, v_stride, D, BLOCK_D, BLOCK)
            scores = _scores(query, keys.to(ACC), key_place, length, D)
            higher = tl.maximum(highest, tl.max(scores, 0))
            shrink = tl.exp(highest - higher)
            terms = tl.exp(scores - higher)
            total = total * shrink + tl.sum(terms, 0)
            if DROPOUT:
                terms = tl.where(_kept(mask_key, sequence, first_key, dropping_levels, BLOCK), terms * scale, 0.0)
            context = context * shrink + tl.sum(terms[:, None] * values.to(ACC), 0)
            highest = higher
        context = (context / total).to(out.dtype.element_ty)
        tl.store(out + (row * heads + head).to(tl.int64) * D + column, context, column < D)
        tl.store(log_sums + row * heads + head, highest + tl.log(total))


@triton.jit(do_not_specialize=_runtime)
def _backward(
    q, k, v, out, out_grad, q_grad, k_grad, v_grad, log_sums, starts, lengths, seeds, steps, part, q_stride, k_stride,
    v_stride, grad_stride, num_sequences, num_tokens, site, dropping_levels, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the query, the keys and the values of a sequence, and 0 for those of filler."""
    trial, sequence, start, length = span_of_program(starts, lengths, num_sequences, num_tokens)
    head, heads = tl.program_id(1), tl.num_programs(1)
    if sequence == num_sequences:
        clear_filler(k_grad, start, length, grad_stride, D, BLOCK_D, BLOCK)
        clear_filler(v_grad, start, length, grad_stride, D, BLOCK_D, BLOCK)
    else:
        column = tl.arange(0, BLOCK_D)
        row = trial * num_sequences + sequence
        if DROPOUT:
            mask_key = load_key(seeds, steps, part, site, trial)
        query = tl.load(q + row.to(tl.int64) * q_stride + head * D + column, column < D, 0.0).to(ACC)
        at = (row * heads + head).to(tl.int64) * D + column  # the numbers of the query in contiguous tensors
        grad = tl.load(out_grad + at, column < D, 0.0).to(ACC)
        context = tl.load(out + at, column < D, 0.0).to(ACC)
        log_sum = tl.load(log_sums + row * heads + head)
        delta = tl.sum(context * grad, 0)
        query_gradient = tl.zeros((BLOCK_D,), ACC)
        for first_key in range(0, length, BLOCK):
            key_place, keys, values = load_block(k, v, start, first_key, length, k_stride, v_stride, D, BLOCK_D, BLOCK)
            keys, values = keys.to(ACC), values.to(ACC)
            probabilities = tl.exp(_scores(query, keys, key_place, length, D) - log_sum)  # 0 after the end
            weights = probabilities  # after dropout
            gradients = tl.sum(values * grad[None, :], 1)  # of the weights
            if DROPOUT:
                kept = _kept(mask_key, sequence, first_key, dropping_levels, BLOCK)
                weights = tl.where(kept, weights * scale, 0.0)
                gradients = tl.where(kept, gradients * scale, 0.0)  # now of the probabilities
            of_scores = probabilities * (gradients - delta) * (D**-0.5)
            query_gradient += tl.sum(of_scores[:, None] * keys, 0)
            store_tile(k_grad, of_scores[:, None] * query[None, :], start, key_place, length, grad_stride, D, BLOCK_D)
            store_tile(v_grad, weights[:, None] * grad[None, :], start, key_place, length, grad_stride, D, BLOCK_D)
        tl.store(q_grad + at, query_gradient.to(q_grad.dtype.element_ty), column < D)


class _FirstTokenAttention(torch.autograd.Function):
    """Contexts of q (K * B, A, D) and of k and v (K * T, A, D), and their gradients."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Batch) -> torch.Tensor:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        log_sums = torch.empty(q.shape[:2], dtype=accumulator_type(q), device=q.device)  # (K * B, A)
        batch.start(_forward, q, k, v, out, log_sums)
        ctx.save_for_backward(q, k, v, out, log_sums)
        ctx.batch = batch
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, out, log_sums = ctx.saved_tensors
        q_grad = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        k_grad, v_grad = rows_side_by_side(2, k)
        ctx.batch.start(
            _backward, q, k, v, out, out_grad.contiguous(), q_grad, k_grad, v_grad, log_sums,
            grad_stride=k_grad.stride(0),
        )  # fmt: skip
        return q_grad, k_grad, v_grad, None


def first_token_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sequences: Sequences, dropout: Dropout | None
) -> torch.Tensor:
    """Return what ``tunekit.engine.kernels.attention.attention`` does with ``first_only``."""
    batch = Batch(sequences, dropout, 1, {"BLOCK": BLOCK, "num_warps": NUM_WARPS})
    contexts: torch.Tensor = _FirstTokenAttention.apply(*map(rows_of_heads, (q, k, v)), batch)  # type: ignore[no-untyped-call]
    return contexts
