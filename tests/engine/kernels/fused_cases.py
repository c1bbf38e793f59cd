"""Tests of the Triton kernels, which Triton's interpreter runs on a CPU: ``test_fused`` runs this file so."""

import os
from itertools import product

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from tests.support.combinations import covering, usually
from tests.support.device import device_pack
from tests.support.packs import member_of, specs_of, train
from tests.support.token_batches import dropout_of, real_tokens, sequences_of
from tunekit.engine.forward.joint_linear import joined
from tunekit.engine.kernels import attention, choice, dropout, gelu, residual_norm
from tunekit.engine.kernels.examples import example_tensor
from tunekit.engine.kernels.fused import attention as fused_attention
from tunekit.engine.kernels.fused import dropout as fused_dropout
from tunekit.engine.kernels.fused import first_token as fused_first_token
from tunekit.engine.kernels.fused import gelu as fused_gelu
from tunekit.engine.kernels.fused import masks as fused_masks
from tunekit.engine.kernels.fused import residual_norm as fused_residual_norm
from tunekit.engine.kernels.fused.row_tiles import place_of_tile
from tunekit.engine.kernels.masks import LEVELS

assert os.environ["TRITON_INTERPRET"] == "1", "run by test_fused alone"

CPU = torch.device("cpu")
TOLERANCES = {torch.float32: 3e-6, torch.float64: 1e-14}
"""Of numbers up to about 10, whose sums are taken in another order than the twin's."""
RATES = {torch.float32: 0.1, torch.float64: 0.5}
"""A kernel gets the scale in fp32, so that in fp64 only a scale such as 2 is exact."""
TYPES = pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "fp64"])


def random(*shape: int, seed: int, dtype: torch.dtype, grad: bool = True) -> torch.Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers.to(dtype).requires_grad_(grad)


def agree(fused, plain, *tensors) -> list[torch.Tensor]:
    """Assert that both functions give the same output and gradients of the tensors that require them.

    Returns those of ``fused``.
    """
    asked = [one for one in tensors if one is not None and one.requires_grad]
    outputs = [function(*tensors) for function in (fused, plain)]
    weights = random(*outputs[0].shape, seed=99, dtype=outputs[0].dtype, grad=False)
    gradients = [torch.autograd.grad(out, asked, weights) for out in outputs]
    tolerance = TOLERANCES[outputs[0].dtype]
    for one, other in zip((outputs[0], *gradients[0]), (outputs[1], *gradients[1]), strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, atol=tolerance * max(1.0, other.abs().max().item()), rtol=0)
    return [outputs[0], *gradients[0]]


BATCHES = {
    "one block and its edges": ([[1, 31, 32, 33]], 32),
    "several blocks": ([[70, 9]], 32),
    "three trials": ([[2, 5], [17, 1], [33, 3]], 64),
    "a head size that is no power of two": ([[40, 2]], 24),
}
KERNELS, DROPPING = ("all tokens", "first token"), ("no dropout", "dropout")
ALL_ATTENTION = [*product(KERNELS, DROPPING, TOLERANCES, BATCHES)]
TURNS = (*BATCHES, *[*BATCHES][2:], *[*BATCHES][:2])
ATTENTION = usually(
    [(*of, batch) for of, batch in zip(product(KERNELS, DROPPING, TOLERANCES), TURNS, strict=True)], ALL_ATTENTION
)
"""Each kernel without and with dropout in each type, on the batches by turns: on each in one case without, one with."""
ROWS = [(40, *flags, dtype) for *flags, dtype in covering(product(*[(False, True)] * 4, TOLERANCES))]
ROWS += [(384, *[True] * 4, torch.float32), (384, *[False] * 4, torch.float64)]
RESIDUAL_NORM = usually(
    ROWS, [(width, *flags, dtype) for width in (40, 384) for *flags, dtype in product(*[(False, True)] * 4, TOLERANCES)]
)
"""What the operation can be given, two by two, and rows of MiniLM's width."""


@pytest.mark.parametrize(("kernel", "dropping", "dtype", "batch"), ATTENTION)
def test_attention(kernel, dropping, dtype, batch):
    (lengths, head_size), first_only = BATCHES[batch], kernel == "first token"
    sequences = sequences_of(lengths, filler=35)
    spec = dropout_of(sequences, RATES[dtype]) if dropping == "dropout" else None
    tokens, queries = len(sequences.token_sequence), len(sequences.starts)
    k, v = (random(tokens, 2, head_size, seed=seed, dtype=dtype) for seed in (1, 2))
    q = random(queries if first_only else tokens, 2, head_size, seed=3, dtype=dtype)

    def fused(q, k, v):
        if first_only:
            return fused_first_token.first_token_attention(q, k, v, sequences, spec)
        return fused_attention.attention(q, k, v, sequences, spec, tf32=False)

    found = agree(fused, lambda *qkv: attention.plain(*qkv, sequences, spec, first_only=first_only), q, k, v)
    filler = ~real_tokens(sequences)
    for one in found[2:] if first_only else found:  # queries of first tokens are those of no filler
        assert not one[filler].any()


@pytest.mark.parametrize("first_only", [False, True])
def test_a_trial_has_the_same_bits_alone_in_a_pack_and_with_any_filler(first_only):
    mine, other, bits = [40, 7], [3, 70], []
    own = [random(rows, 2, 16, seed=seed, dtype=torch.float32) for seed, rows in ((1, 47), (2, 47), (3, 47))]
    grads = random(2 if first_only else 47, 2, 16, seed=4, dtype=torch.float32, grad=False)
    for lengths, seed, filler in (([mine], 71, 1), ([other, mine], 70, 40)):
        sequences = sequences_of(lengths, filler=filler)
        begin = (len(lengths) - 1) * sequences.num_tokens
        q, k, v = (random(len(sequences.token_sequence), 2, 16, seed=9, dtype=torch.float32, grad=False) for _ in own)
        for whole, part in zip((q, k, v), own, strict=True):
            whole[begin : begin + 47] = part.detach()
        spec = dropout_of(sequences, 0.1, seed=seed)
        if first_only:
            q = q[sequences.starts]
        inputs = [one.requires_grad_() for one in (q, k, v)]
        out = (
            fused_first_token.first_token_attention(*inputs, sequences, spec)
            if first_only
            else fused_attention.attention(*inputs, sequences, spec, tf32=False)
        )
        weights = torch.zeros_like(out)
        at = slice(len(out) - 2, None) if first_only else slice(begin, begin + 47)
        weights[at] = grads
        found = torch.autograd.grad(out, inputs, weights)
        bits.append([out[at], found[0][at], *(one[begin : begin + 47] for one in found[1:])])
    for one, other in zip(*bits, strict=True):
        assert torch.equal(one, other)


def test_attention_reads_parts_of_a_wider_tensor_and_its_bits_do_not_depend_on_the_longest():
    lengths, found = [[33, 5], [2, 9]], []
    for longest, apart in ((33, False), (100, True)):
        sequences = sequences_of(lengths, longest=longest)
        whole = random(len(sequences.token_sequence), 3, 2, 16, seed=1, dtype=torch.float32)
        parts = [one.clone() if apart else one for one in whole.unbind(1)]
        out = fused_attention.attention(*parts, sequences, dropout_of(sequences, 0.1), tf32=False)
        found.append((out, *torch.autograd.grad(out.square().sum(), whole)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("first_only", [False, True])
def test_gradients_of_tokens_lie_side_by_side(first_only):
    sequences = sequences_of([[33, 5], [2, 9]])
    tokens, firsts = len(sequences.token_sequence), len(sequences.starts)
    q, k, v = (random(firsts if first_only and not i else tokens, 2, 16, seed=i, dtype=torch.float32) for i in range(3))
    if first_only:
        out = fused_first_token.first_token_attention(q, k, v, sequences, None)
    else:
        out = fused_attention.attention(q, k, v, sequences, None, tf32=False)
    gradients = [one.flatten(1) for one in torch.autograd.grad(out.sum(), (q, k, v))][first_only:]
    assert torch.equal(joined(gradients, -1), torch.cat(gradients, -1))


@TYPES
@pytest.mark.parametrize("of_tokens", [False, True])
def test_dropout(of_tokens, dtype):
    sequences = sequences_of([[30, 4], [1, 9]], filler=20)
    spec = dropout_of(sequences, RATES[dtype])
    rows = len(sequences.token_sequence if of_tokens else sequences.starts)
    x = random(2, rows // 2, 140, seed=1, dtype=dtype)
    found, _ = agree(lambda x: fused_dropout.dropout(x, spec), lambda x: dropout.plain(x, spec), x)
    assert torch.equal(found == 0, dropout.plain(x, spec) == 0)


@pytest.mark.parametrize(("width", "own_bias", "own_weight", "of_tokens", "dropping", "dtype"), RESIDUAL_NORM)
def test_residual_norm(width, own_bias, own_weight, of_tokens, dropping, dtype):
    sequences = sequences_of([[30, 4], [1, 9]], filler=20)
    spec = dropout_of(sequences, RATES[dtype]) if dropping else None
    rows = len(sequences.token_sequence if of_tokens else sequences.starts)
    x, residual = (random(2, rows // 2, width, seed=seed, dtype=dtype) for seed in (1, 2))
    weight, bias = (
        random(*(2,) * own, width, seed=seed, dtype=dtype) for seed, own in ((3, own_weight), (4, own_bias))
    )
    agree(
        lambda *tensors: fused_residual_norm.dropout_residual_norm(*tensors, 1e-5, spec),
        lambda *tensors: residual_norm.plain(*tensors, 1e-5, spec),
        x, residual, weight, bias,
    )  # fmt: skip


def test_residual_norm_has_gradients_only_of_what_is_trained():
    x, residual = (random(2, 9, 40, seed=seed, dtype=torch.float32) for seed in (1, 2))
    for trained in ((False, False), (True, False), (False, True)):
        weight, bias = (random(2, 40, seed=3, dtype=torch.float32, grad=grad) for grad in trained)
        agree(
            lambda *tensors: fused_residual_norm.dropout_residual_norm(*tensors, 1e-5, None),
            lambda *tensors: residual_norm.plain(*tensors, 1e-5, None),
            x, residual, weight, bias,
        )  # fmt: skip
    with torch.no_grad():
        fused_residual_norm.dropout_residual_norm(x, residual, weight, bias, 1e-5, None)


def test_residual_norm_takes_a_coarser_input():
    x = random(2, 9, 40, seed=1, dtype=torch.bfloat16)
    residual, weight, bias = (random(*shape, seed=2, dtype=torch.float32) for shape in ((2, 9, 40), (40,), (40,)))
    out = fused_residual_norm.dropout_residual_norm(x, residual, weight, bias, 1e-5, None)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, residual_norm.plain(x, residual, weight, bias, 1e-5, None))
    assert torch.autograd.grad(out.sum(), x)[0].dtype == torch.bfloat16


def test_weights_are_read_from_a_buffer_of_all_weights_of_each_trial():
    rows = [random(2, 9, 40, seed=seed, dtype=torch.float32) for seed in (1, 2)]
    buffer = random(2, 100, seed=3, dtype=torch.float32)
    weight, bias = buffer[:, 10:50], buffer[:, 60:]
    agree(
        lambda *tensors: fused_residual_norm.dropout_residual_norm(*tensors, 1e-5, None),
        lambda *tensors: residual_norm.plain(*tensors, 1e-5, None),
        *rows, weight, bias,
    )  # fmt: skip
    agree(fused_gelu.bias_gelu, gelu.plain, rows[0], bias)


@TYPES
@pytest.mark.parametrize("bias_shape", [None, (140,), (2, 140)])
@pytest.mark.parametrize("frozen", [False, True])
def test_bias_and_gelu(bias_shape, frozen, dtype):
    x = random(2, 50, 140, seed=1, dtype=dtype)
    bias = None if bias_shape is None else random(*bias_shape, seed=2, dtype=dtype, grad=not frozen)
    agree(fused_gelu.bias_gelu, gelu.plain, x, bias)


def setting_of(size: int) -> choice.Setting:
    return choice.Setting(CPU, torch.float32, size)


OPERATIONS = [
    attention.ATTENTION, attention.FIRST_TOKEN_ATTENTION, dropout.DROPOUT, gelu.BIAS_GELU, residual_norm.RESIDUAL_NORM,
]  # fmt: skip


def test_a_step_by_kernels_which_are_chosen_since_they_agree_is_that_of_plain_operations(monkeypatch):
    held, compare, found = set(), choice.disagreement, {}

    def held_against_its_twin(operation, setting):
        held.add(operation)
        return compare(operation, setting)

    monkeypatch.setattr(choice, "disagreement", held_against_its_twin)
    for interpreted in ("1", "0"):
        monkeypatch.setenv("TRITON_INTERPRET", interpreted)
        choice.chosen_version.cache_clear()
        members = [
            member_of(spec)
            for method in ("adapter", "lora")
            for spec in specs_of(method, epochs=1, train_limit=4, batch_size=4)[:2]
        ]
        losses = [train(pack, 1, device_pack) for pack in (members[:2], members[2:])]
        first = [one.first.flatten() for member in members for one in member.trained.values()]
        found[interpreted] = np.concatenate(losses), torch.cat(first)
    choice.chosen_version.cache_clear()
    assert choice.fallbacks() == ()
    assert held == set(OPERATIONS)
    (losses, moments), (expected, expected_moments) = found["1"], found["0"]
    assert losses.shape == (4, 1)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    # A tenth of the gradients, which were clipped.
    torch.testing.assert_close(moments, expected_moments, rtol=0, atol=1e-6)
    assert expected_moments.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("operation", "where", "name"),
    [
        # The examples of the first operation are those of the next, whose kernel takes a quarter of the time.
        pytest.param(attention.ATTENTION, fused_masks, "_ROUNDS", marks=pytest.mark.contracts),
        (attention.FIRST_TOKEN_ATTENTION, fused_masks, "_ROUNDS"),
        (dropout.DROPOUT, fused_masks, "_ROUNDS"),
        (residual_norm.RESIDUAL_NORM, fused_masks, "_ROUNDS"),
        (gelu.BIAS_GELU, fused_gelu, "_SQRT_HALF"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_kernel_with_a_wrong_constant_is_found(operation, where, name, monkeypatch):
    monkeypatch.setattr(where, name, tl.constexpr(7 if name == "_ROUNDS" else 0.7))
    assert "of the largest number" in choice.disagreement(operation, setting_of(16))


def test_the_twin_computes_what_a_wrong_kernel_would(monkeypatch):
    monkeypatch.setattr(choice, "_notes", [])
    x = random(3, 24, seed=1, dtype=torch.float32)
    right = gelu.bias_gelu(x, None)
    assert choice.fallbacks() == ()
    monkeypatch.setattr(fused_gelu, "_DENSITY_AT_0", tl.constexpr(0.39))
    choice.chosen_version.cache_clear()
    for _ in range(2):
        assert torch.equal(gelu.bias_gelu(x, None), gelu.plain(x, None))
    [line] = choice.fallbacks()
    assert line.startswith("bias and GELU (size 24, fp32, cpu) is computed by plain PyTorch")
    assert "its gradient 1 differs" in line
    torch.testing.assert_close(right, gelu.plain(x, None))
    choice.chosen_version.cache_clear()


@triton.jit
def _reads_what_does_not_exist(x, out, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    _, _, _, _, offset, exists = place_of_tile(rows, columns, ROWS, COLUMNS)
    tl.store(out + offset, tl.no_such_function(tl.load(x + offset, exists, 0.0)), exists)


def test_a_kernel_that_does_not_compile_is_named():
    def fused(x):
        out = torch.empty_like(x)
        _reads_what_does_not_exist[(1, 1, 1)](x, out, 2, 16, ROWS=2, COLUMNS=16)
        return out

    broken = choice.Operation("a try", lambda x: x, lambda _: fused, lambda s: [(example_tensor(s, 2, 16, seed=1),)])
    assert "no_such_function" in choice.disagreement(broken, setting_of(16))


def test_levels_that_drop_nothing_keep_everything():
    sequences = sequences_of([[3, 5]])
    x = random(len(sequences.token_sequence), 16, seed=1, dtype=torch.float32)
    assert torch.equal(fused_dropout.dropout(x, dropout_of(sequences, 0)), x)
    almost_all = dropout_of(sequences, (LEVELS - 1) / LEVELS)
    assert (fused_dropout.dropout(x, almost_all) == 0).all()
