"""Attention by the offsets of sequences: the softmax of a block of queries is built while its keys pass by.

The method is that of FlashAttention-2 (Dao, 2023): scores and probabilities are never stored. The forward kernel keeps
of each query the logarithm of its sum of exponentials, from which the backward kernels compute its probabilities again.

A program has one head of one sequence, and a block of BLOCK queries or keys of it. It passes over the other side in
blocks of the same size, from the sequence's first token on. So the order of sums depends on the length of the sequence
alone, not on the batch.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from tunekit.engine.kernels.batch import Sequences
from tunekit.engine.kernels.fused.launch import accumulator_type, tile_width
from tunekit.engine.kernels.fused.masks import RUNTIME_ONLY, draws, load_key
from tunekit.engine.kernels.fused.sequence_tiles import (
    Batch,
    clear_filler,
    load_block,
    load_tile,
    rows_of_heads,
    rows_side_by_side,
    span_of_program,
    store_tile,
)
from tunekit.engine.kernels.masks import Dropout

BLOCK = 32
"""Queries or keys of a block. Most sentences have about 30 tokens, so that blocks of 64 would be half empty.

Shared memory holds the tiles of a block on both sides. In the largest kernel, the keys' backward pass in fp32, these
are four of BLOCK by D and two of BLOCK by BLOCK: 24, 40 and 72 KiB with D = 32, 64 and 128, of the 227 KiB that a
program can have on an H100 or H200. So with D = 64 five programs fit a multiprocessor."""
COLUMNS_OF_4_WARPS = 64
"""A program has 4 warps of 32 threads where its sums, tiles of BLOCK rows, have up to so many columns together, and
else 8. With more numbers to a thread, the fp32 kernels take all 255 registers and spill."""
NUM_STAGES = 2
"""The next block of the other side is read while one is computed. More stages take more shared memory, and most
sentences have one or two blocks."""

_runtime = (*RUNTIME_ONLY, "num_sequences")


@triton.jit
def _scores(queries, keys, key_place, length, D: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr):
    """Return the scores (BLOCK, BLOCK) of queries and keys (BLOCK, BLOCK_D): -inf for keys after the sequence's end."""
    products = tl.dot(queries, tl.trans(keys), input_precision=PRECISION, out_dtype=ACC)
    return tl.where((key_place < length)[None, :], products * (D**-0.5), float("-inf"))


@triton.jit(do_not_specialize=_runtime)
def _forward(
    q, k, v, out, log_sums, starts, lengths, seeds, steps, part, q_stride, k_stride, v_stride,
    num_sequences, num_tokens, site, dropping_levels, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the contexts of a block of queries, and the logarithms of their sums of exponentials."""
    trial, sequence, start, length = span_of_program(starts, lengths, num_sequences, num_tokens)
    head, first = tl.program_id(1), tl.program_id(2) * BLOCK
    out_stride = tl.num_programs(1) * D
    if sequence == num_sequences:
        clear_filler(out, start, length, out_stride, D, BLOCK_D, BLOCK)
    elif first < length:
        if DROPOUT:
            mask_key = load_key(seeds, steps, part, site, trial)
        place = first + tl.arange(0, BLOCK)
        queries = load_tile(q, start, place, length, q_stride, D, BLOCK_D)
        highest = tl.full((BLOCK,), float("-inf"), ACC)  # of the scores so far, for each query
        total = tl.zeros((BLOCK,), ACC)  # of exp(score - highest)
        context = tl.zeros((BLOCK, BLOCK_D), ACC)  # the same sum, with each term times its value
        for first_key in range(0, length, BLOCK):
            key_place, keys, values = load_block(k, v, start, first_key, length, k_stride, v_stride, D, BLOCK_D, BLOCK)
            scores = _scores(queries, keys, key_place, length, D, ACC, PRECISION)
            higher = tl.maximum(highest, tl.max(scores, 1))
            shrink = tl.exp(highest - higher)  # takes the sums so far to the new highest score; 0 at first
            terms = tl.exp(scores - higher[:, None])
            total = total * shrink + tl.sum(terms, 1)
            if DROPOUT:  # drops terms of the context, not of the softmax's total
                drawn = draws(mask_key, place, ((sequence << 16) | head).to(tl.uint32), first_key, BLOCK)
                terms = tl.where(drawn >= dropping_levels, terms * scale, 0.0)
            products = tl.dot(terms.to(values.dtype), values, input_precision=PRECISION, out_dtype=ACC)
            context = context * shrink[:, None] + products
            highest = higher
        store_tile(out, context / total[:, None], start, place, length, out_stride, D, BLOCK_D)
        rows = tl.num_programs(0) // (num_sequences + 1) * num_tokens  # K * T
        tl.store(log_sums + head * rows + start + place, highest + tl.log(total), place < length)


@triton.jit
def _score_gradients(
    queries, keys, values, grads, log_sum, delta, place, key_place, length, mask_key, word1, first_key, dropping_levels,
    scale, D: tl.constexpr, BLOCK: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the gradients of the scores (BLOCK, BLOCK) of a block of queries and one of keys, and the weights.

    ``grads`` are the gradients of the queries' contexts (BLOCK, BLOCK_D), and ``delta`` (BLOCK,) the sum, over a
    query's columns, of its context times its gradient: the sum of its probabilities times their gradients. The weights
    (BLOCK, BLOCK) are the probabilities after dropout, by which the contexts sum up the values.
    """
    scores = _scores(queries, keys, key_place, length, D, ACC, PRECISION)
    # 0 for keys after the end, since their scores are -inf. Queries after the end have log_sum 0 and finite scores.
    probabilities = tl.exp(scores - log_sum[:, None])
    weights = probabilities
    gradients = tl.dot(grads, tl.trans(values), input_precision=PRECISION, out_dtype=ACC)  # of the weights
    if DROPOUT:
        kept = draws(mask_key, place, word1, first_key, BLOCK) >= dropping_levels
        weights = tl.where(kept, weights * scale, 0.0)
        gradients = tl.where(kept, gradients * scale, 0.0)  # now of the probabilities
    gradients = tl.where((place < length)[:, None], probabilities * (gradients - delta[:, None]), 0.0)
    return gradients, weights


@triton.jit(do_not_specialize=_runtime)
def _backward_of_queries(
    q, k, v, out, out_grad, q_grad, log_sums, deltas, starts, lengths, seeds, steps, part, q_stride, k_stride, v_stride,
    grad_stride, num_sequences, num_tokens, site, dropping_levels, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a block of queries, passing over the keys, and the block's deltas."""
    trial, sequence, start, length = span_of_program(starts, lengths, num_sequences, num_tokens)
    head, first = tl.program_id(1), tl.program_id(2) * BLOCK
    out_stride = tl.num_programs(1) * D
    if sequence == num_sequences:
        clear_filler(q_grad, start, length, grad_stride, D, BLOCK_D, BLOCK)
    elif first < length:
        mask_key = load_key(seeds, steps, part, site, trial) if DROPOUT else None
        word1 = ((sequence << 16) | head).to(tl.uint32)
        place, queries, grads = load_block(q, out_grad, start, first, length, q_stride, out_stride, D, BLOCK_D, BLOCK)
        rows = tl.num_programs(0) // (num_sequences + 1) * num_tokens  # K * T
        row = head * rows + start + place
        contexts = load_tile(out, start, place, length, out_stride, D, BLOCK_D)
        log_sum = tl.load(log_sums + row, place < length, 0.0)
        delta = tl.sum(contexts.to(ACC) * grads.to(ACC), 1)
        tl.store(deltas + row, delta, place < length)
        gradient = tl.zeros((BLOCK, BLOCK_D), ACC)
        for first_key in range(0, length, BLOCK):
            key_place, keys, values = load_block(k, v, start, first_key, length, k_stride, v_stride, D, BLOCK_D, BLOCK)
            of_scores, _ = _score_gradients(
                queries, keys, values, grads, log_sum, delta, place, key_place, length, mask_key, word1, first_key,
                dropping_levels, scale, D, BLOCK, DROPOUT, ACC, PRECISION,
            )  # fmt: skip
            gradient += tl.dot(of_scores.to(keys.dtype), keys, input_precision=PRECISION, out_dtype=ACC)
        store_tile(q_grad, gradient * (D**-0.5), start, place, length, grad_stride, D, BLOCK_D)


@triton.jit(do_not_specialize=_runtime)
def _backward_of_keys(
    q, k, v, out_grad, k_grad, v_grad, log_sums, deltas, starts, lengths, seeds, steps, part, q_stride, k_stride,
    v_stride, grad_stride, num_sequences, num_tokens, site, dropping_levels, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK: tl.constexpr, DROPOUT: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradients of a block of keys and their values, passing over the queries."""
    trial, sequence, start, length = span_of_program(starts, lengths, num_sequences, num_tokens)
    head, first = tl.program_id(1), tl.program_id(2) * BLOCK
    out_stride = tl.num_programs(1) * D
    if sequence == num_sequences:
        clear_filler(k_grad, start, length, grad_stride, D, BLOCK_D, BLOCK)
        clear_filler(v_grad, start, length, grad_stride, D, BLOCK_D, BLOCK)
    elif first < length:
        mask_key = load_key(seeds, steps, part, site, trial) if DROPOUT else None
        word1 = ((sequence << 16) | head).to(tl.uint32)
        key_place, keys, values = load_block(k, v, start, first, length, k_stride, v_stride, D, BLOCK_D, BLOCK)
        rows = tl.num_programs(0) // (num_sequences + 1) * num_tokens  # K * T
        key_gradient = tl.zeros((BLOCK, BLOCK_D), ACC)
        value_gradient = tl.zeros((BLOCK, BLOCK_D), ACC)
        for first_query in range(0, length, BLOCK):
            place, queries, grads = load_block(
                q, out_grad, start, first_query, length, q_stride, out_stride, D, BLOCK_D, BLOCK
            )
            row = head * rows + start + place
            log_sum = tl.load(log_sums + row, place < length, 0.0)
            delta = tl.load(deltas + row, place < length, 0.0)
            of_scores, weights = _score_gradients(
                queries, keys, values, grads, log_sum, delta, place, key_place, length, mask_key, word1, first,
                dropping_levels, scale, D, BLOCK, DROPOUT, ACC, PRECISION,
            )  # fmt: skip
            # Queries after the end have finite weights and gradients of 0.
            value_gradient += tl.dot(tl.trans(weights.to(grads.dtype)), grads, input_precision=PRECISION, out_dtype=ACC)
            key_gradient += tl.dot(
                tl.trans(of_scores.to(queries.dtype)), queries, input_precision=PRECISION, out_dtype=ACC
            )
        store_tile(k_grad, key_gradient * (D**-0.5), start, key_place, length, grad_stride, D, BLOCK_D)
        store_tile(v_grad, value_gradient, start, key_place, length, grad_stride, D, BLOCK_D)


class _Attention(torch.autograd.Function):
    """Contexts of q, k and v in one kernel; their gradients in two, of which the first leaves deltas for the second."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Batch) -> torch.Tensor:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        log_sums = torch.empty((q.shape[1], len(q)), dtype=accumulator_type(q), device=q.device)  # (A, K * T)
        batch.start(_forward, q, k, v, out, log_sums, num_warps=_warps(q, 1))
        ctx.save_for_backward(q, k, v, out, log_sums)
        ctx.batch = batch
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        q, k, v, out, log_sums = ctx.saved_tensors
        out_grad = out_grad.contiguous()
        q_grad, k_grad, v_grad = rows_side_by_side(3, q)
        deltas, grad_stride = torch.empty_like(log_sums), q_grad.stride(0)
        ctx.batch.start(
            _backward_of_queries, q, k, v, out, out_grad, q_grad, log_sums, deltas, grad_stride=grad_stride,
            num_warps=_warps(q, 1),
        )  # fmt: skip
        ctx.batch.start(
            _backward_of_keys, q, k, v, out_grad, k_grad, v_grad, log_sums, deltas, grad_stride=grad_stride,
            num_warps=_warps(q, 2),
        )  # fmt: skip
        return q_grad, k_grad, v_grad, None


def _warps(q: torch.Tensor, sums: int) -> int:
    """Return the warps of a program that keeps ``sums`` sums, each of a block by a head's columns."""
    return 4 if sums * tile_width(q.shape[-1]) <= COLUMNS_OF_4_WARPS else 8


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sequences: Sequences, dropout: Dropout | None, *, tf32: bool
) -> torch.Tensor:
    """Return what ``tunekit.engine.kernels.attention.attention`` does where every token is a query."""
    settings = {"BLOCK": BLOCK, "PRECISION": "tf32" if tf32 else "ieee", "num_stages": NUM_STAGES}
    batch = Batch(sequences, dropout, triton.cdiv(sequences.longest, BLOCK), settings)
    contexts: torch.Tensor = _Attention.apply(*map(rows_of_heads, (q, k, v)), batch)  # type: ignore[no-untyped-call]
    return contexts
