"""Tensors that don't fit the batch or each other are refused before a kernel reads past their ends."""

import pytest
import torch

from tests.support.token_batches import dropout_of, sequences_of
from tunekit.engine.kernels import attention, dropout, gelu, residual_norm

SEQUENCES = sequences_of([[2, 3], [4, 1]], filler=2)  # 14 tokens, 4 sequences
ROWS = torch.zeros(14, 2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.zeros(13, 2, 4)}, r"queries \(13, 2, 4\), keys \(14, 2, 4\)"),
        ({"k": torch.zeros(14, 2, 5)}, r"keys \(14, 2, 5\)"),
        ({"v": torch.zeros(15, 2, 4)}, r"values \(15, 2, 4\)"),
        ({"first_only": True}, "14 tokens with 4 queries"),
        ({"v": ROWS.double()}, "of one type are needed"),
        ({"dropout": dropout_of(sequences_of([[2, 3], [4, 1]], filler=2), 0.1)}, "that of another batch"),
    ],
)
def test_attention_refuses(change, message):
    fitting = {"q": ROWS, "k": ROWS, "v": ROWS, "first_only": False, "dropout": dropout_of(SEQUENCES, 0.1)}
    call = fitting | change
    attention.attention(sequences=SEQUENCES, tf32=False, **fitting)
    with pytest.raises(ValueError, match=message):
        attention.attention(sequences=SEQUENCES, tf32=False, **call)


def test_dropout_refuses_rows_of_no_batch():
    with pytest.raises(ValueError, match="6 rows belong neither to 14 tokens nor to 4 sequences"):
        dropout.dropout(torch.zeros(6, 8), dropout_of(SEQUENCES, 0.1))


@pytest.mark.parametrize(
    ("residual", "weight", "message"),
    [
        ((1, 8), (8,), r"\(14, 8\) and the residual \(1, 8\) differ"),
        ((14, 8), (1,), r"weights \(1,\) don't fit rows \(14, 8\)"),
        ((14, 8), (3, 8), r"weights \(3, 8\)"),
        ((14, 8), (1, 2, 8), r"weights \(1, 2, 8\)"),
    ],
)
def test_the_residual_norm_refuses(residual, weight, message):
    tensors = torch.zeros(residual), torch.zeros(8), torch.zeros(weight)
    with pytest.raises(ValueError, match=message):
        residual_norm.dropout_residual_norm(torch.zeros(14, 8), *tensors, 1e-5, None)


def test_gelu_refuses_a_bias_of_other_columns():
    with pytest.raises(ValueError, match=r"weights \(7,\) don't fit rows \(14, 8\)"):
        gelu.bias_gelu(torch.zeros(14, 8), torch.zeros(7))
