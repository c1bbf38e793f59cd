"""The twins in plain PyTorch give what PyTorch's own functions give, with explicit masks, and right gradients."""

import pytest
import torch
from torch.nn import functional as F

from tests.support.token_batches import dropout_of, real_tokens, sequences_of
from tunekit.engine.kernels import attention, dropout, gelu, residual_norm
from tunekit.engine.kernels.masks import draws, row_draws

LENGTHS = [[1, 7, 2], [4, 3, 9]]
HEADS, HEAD_SIZE = 2, 4


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def one_by_one(q, k, v, sequences, first_only, spec):
    """Attention of each sequence by PyTorch's own function or, with dropout, by an explicit mask."""
    out = torch.zeros_like(q)
    for number, (start, length) in enumerate(zip(sequences.starts.tolist(), sequences.lengths.tolist(), strict=True)):
        here, keys = slice(start, start + length), k[start : start + length].transpose(0, 1)
        queries = (q[number : number + 1] if first_only else q[here]).transpose(0, 1)  # (A, Q, D)
        values = v[here].transpose(0, 1)
        if spec is None:
            context = F.scaled_dot_product_attention(queries, keys, values)
        else:
            trial, sequence = divmod(number, sequences.num_sequences)
            head, place = torch.arange(HEADS)[:, None], torch.arange(queries.shape[1])
            drawn = draws(spec, torch.tensor(trial), torch.tensor(sequence), head, place, length)
            probabilities = (queries @ keys.transpose(1, 2) / HEAD_SIZE**0.5).softmax(-1)
            context = (probabilities * (drawn >= spec.dropping_levels) * spec.scale) @ values
        if first_only:
            out[number] = context[:, 0]
        else:
            out[here] = context.transpose(0, 1)
    return out


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("rate", [0, 0.4])
@pytest.mark.parametrize("longest", [9, 14])
def test_attention_is_that_of_each_sequence_alone(first_only, rate, longest):
    sequences = sequences_of(LENGTHS, longest=longest)
    spec = dropout_of(sequences, rate) if rate else None
    tokens = len(sequences.token_sequence)
    q = random(6 if first_only else tokens, HEADS, HEAD_SIZE, seed=1).requires_grad_()
    k, v = (random(tokens, HEADS, HEAD_SIZE, seed=seed).requires_grad_() for seed in (2, 3))
    found = attention.attention(q, k, v, sequences, first_only=first_only, dropout=spec, tf32=False)
    expected = one_by_one(q, k, v, sequences, first_only, spec)
    torch.testing.assert_close(found, expected)
    if not first_only:
        assert not found[~real_tokens(sequences)].any()
    weights = random(*found.shape, seed=4)
    gradients = [torch.autograd.grad((out * weights).sum(), (q, k, v)) for out in (found, expected)]
    torch.testing.assert_close(*gradients)
    for gradient in gradients[0][first_only:]:
        assert not gradient[~real_tokens(sequences)].any()


@pytest.mark.parametrize("first_only", [False, True])
def test_gradients_of_attention_are_those_of_finite_differences(first_only):
    sequences = sequences_of([[1, 3], [2, 2]], filler=1)
    tokens = len(sequences.token_sequence)
    inputs = [random(n, 1, 2, seed=n).requires_grad_() for n in (4 if first_only else tokens, tokens, tokens)]

    def plain(q, k, v):
        return attention.plain(q, k, v, sequences, dropout_of(sequences, 0.4), first_only=first_only)

    assert torch.autograd.gradcheck(plain, inputs)


def test_parts_of_a_wider_tensor_are_read_as_they_lie():
    sequences = sequences_of(LENGTHS)
    joined = random(len(sequences.token_sequence), 3, HEADS, HEAD_SIZE)
    parts = [attention.attention(*each, sequences, first_only=False, dropout=None, tf32=False)
             for each in (joined.unbind(1), [part.clone() for part in joined.unbind(1)])]  # fmt: skip
    assert torch.equal(*parts)


@pytest.mark.parametrize("of_tokens", [True, False])
def test_dropout_multiplies_by_its_mask(of_tokens):
    sequences = sequences_of(LENGTHS)
    spec = dropout_of(sequences, 0.3)
    num_rows = len(sequences.token_sequence if of_tokens else sequences.starts)
    x = random(2, num_rows // 2, 10).requires_grad_()
    mask = ((row_draws(spec, num_rows, 10) >= spec.dropping_levels) * spec.scale).view(x.shape)
    found = dropout.dropout(x, spec)
    torch.testing.assert_close(found, x * mask)
    weights = random(*x.shape, seed=1)
    torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), x)[0], weights * mask)


@pytest.mark.parametrize("of_each_trial", [False, True])
@pytest.mark.parametrize("rate", [0, 0.3])
def test_the_residual_norm_is_the_layer_norm_of_each_trial(of_each_trial, rate):
    sequences = sequences_of(LENGTHS)
    spec = dropout_of(sequences, rate) if rate else None
    num_tokens, width = sequences.num_tokens, 10
    x, residual = (random(2, num_tokens, width, seed=seed) for seed in (1, 2))
    weight, bias = (random(*(2,) * of_each_trial, width, seed=seed) for seed in (3, 4))
    mask = 1 if spec is None else (row_draws(spec, 2 * num_tokens, width) >= spec.dropping_levels) * spec.scale
    total = (x.flatten(0, 1) * mask).view_as(x) + residual
    expected = [F.layer_norm(total[trial], (width,), *(one[trial] if of_each_trial else one for one in (weight, bias)))
                for trial in range(2)]  # fmt: skip
    found = residual_norm.dropout_residual_norm(x, residual, weight, bias, 1e-5, spec)
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("of_each_trial", [False, True])
def test_gradients_of_the_residual_norm_are_those_of_finite_differences(of_each_trial):
    sequences = sequences_of([[2], [3]], filler=0)
    inputs = [random(2, 3, 4, seed=seed).requires_grad_() for seed in (1, 2)]
    inputs += [random(*(2,) * of_each_trial, 4, seed=seed).requires_grad_() for seed in (3, 4)]

    def plain(*tensors):
        return residual_norm.plain(*tensors, 1e-5, dropout_of(sequences, 0.3))

    assert torch.autograd.gradcheck(plain, inputs)


def test_gelu_is_that_of_the_sum_with_the_bias():
    x, shared, own = random(2, 3, 5), random(5, seed=1), random(2, 5, seed=2)
    torch.testing.assert_close(gelu.bias_gelu(x, None), F.gelu(x))
    torch.testing.assert_close(gelu.bias_gelu(x, shared), F.gelu(x + shared))
    torch.testing.assert_close(gelu.bias_gelu(x, own), F.gelu(x + own[:, None]))
    assert torch.autograd.gradcheck(gelu.plain, (x.requires_grad_(), own.requires_grad_()))


def test_types_are_kept_and_sums_are_computed_in_fp32():
    sequences = sequences_of(LENGTHS)
    tokens = len(sequences.token_sequence)
    x = random(2, tokens // 2, 10, dtype=torch.bfloat16)
    residual, weight, bias = random(2, tokens // 2, 10, seed=1).float(), torch.ones(10), torch.zeros(10)
    normed = residual_norm.dropout_residual_norm(x, residual, weight, bias, 1e-5, None)
    assert normed.dtype == torch.float32
    torch.testing.assert_close(normed, F.layer_norm(x.float() + residual, (10,)))
    assert gelu.bias_gelu(x, bias).dtype == torch.bfloat16
    q = random(tokens, HEADS, HEAD_SIZE, dtype=torch.bfloat16)
    contexts = attention.attention(q, q, q, sequences, first_only=False, dropout=None, tf32=False)
    assert contexts.dtype == torch.bfloat16
    expected = one_by_one(q.float(), q.float(), q.float(), sequences, False, None)
    torch.testing.assert_close(contexts.float(), expected, atol=0.02, rtol=0.01)
