"""The modules that replace some of the library's in a patched model. The forward context does their work."""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.engine.forward.context import ForwardContext
from tunekit.models.families import FAMILIES


def context_of(module: nn.Module) -> ForwardContext:
    """Return the forward context that ``patch_model`` has set on ``module``: the model, or its last layer's module."""
    return cast(ForwardContext, module.tunekit_context)


def backbone_of(model: PreTrainedModel) -> Any:
    """Return the part of a model below its head: the embeddings, the encoder and, for sequences, BERT's pooler."""
    return getattr(model, FAMILIES[model.config.model_type].backbone)


def is_changed(module: nn.Module) -> bool:
    """Return whether a method has given ``module`` hooks, or a forward function of its own."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)


class FlatSelfAttention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017) within each sequence of the batch, with the library's parameters.

    In the last layer only the first token of each sequence is a query, since the model's head reads no other token.
    """

    query: nn.Module
    key: nn.Module
    value: nn.Module
    window: None = None
    """Every query sees the whole of its sequence."""

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
        return self.context.current.attention(self, hidden), None


class ContextDropout(nn.Module):
    """Dropout that the forward context computes. It replaces ``nn.Dropout``."""

    def __init__(self, rate: float, context: ForwardContext) -> None:
        super().__init__()
        self.rate, self.context = rate, context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` (K, T, width) or (K, B, width) with entries dropped in training."""
        return self.context.current.dropout(x, self.rate)


class LinearGelu(nn.Module):
    """The first of the two linear modules of a layer's feed-forward part, followed by GELU."""

    def __init__(self, library: Any, context: ForwardContext) -> None:
        """``library`` is the module that this one replaces, such as BERT's ``BertIntermediate``."""
        super().__init__()
        self.dense, self.context = library.dense, context

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the inner states (..., n) of ``hidden`` (..., H)."""
        return self.context.current.linear_gelu(self.dense, hidden)


class ResidualOutput(nn.Module):
    """The end of each half of a layer: a linear module, dropout, the sum with the residual, and layer norm."""

    def __init__(self, library: Any, context: ForwardContext) -> None:
        """``library`` is the module that this one replaces, such as BERT's ``BertOutput``."""
        super().__init__()
        self.dense, self.LayerNorm, self.rate = library.dense, library.LayerNorm, float(library.dropout.p)
        self.context = context

    def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return the half's output (..., H), for its inner states ``hidden`` (..., n) and its input ``residual``."""
        return self.context.current.residual_norm(self.dense(hidden), residual, self.LayerNorm, self.rate)
