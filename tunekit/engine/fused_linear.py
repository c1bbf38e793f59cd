"""A fused module of queries, keys and values as three modules, so that LoRA can change each of them alone.

ModernBERT computes queries, keys and values in one linear module ``Wqkv`` of 3 H outputs. LoRA on the whole module has
one A for all three. LoRA on its rows of queries, ``query``, is LoRA on a module of those rows. Importing this module
brings torch.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.models.families import FAMILIES

BLOCKS = ("query", "key", "value")
"""The row blocks of a fused module, in the order of its rows."""


class SplitLinear(nn.Module):
    """The row blocks of a fused linear module as modules of their own. Their weights are views of its weight."""

    query: nn.Module
    key: nn.Module
    value: nn.Module

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        biases = [None] * len(BLOCKS) if fused.bias is None else list(fused.bias.data.chunk(len(BLOCKS)))
        for name, weight, bias in zip(BLOCKS, fused.weight.data.chunk(len(BLOCKS)), biases, strict=True):
            block = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
            block.weight = nn.Parameter(weight)
            block.bias = None if bias is None else nn.Parameter(bias)
            setattr(self, name, block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return queries, keys and values side by side (..., 3 H) of ``x`` (..., H), as the fused module does."""
        return torch.cat([self.query(x), self.key(x), self.value(x)], -1)


def split_fused(model: PreTrainedModel) -> None:
    """Replace the fused module of each layer of ``model`` by its row blocks, in place. No output changes."""
    family = FAMILIES[model.config.model_type]
    parent, _, name = family.module("attention.self.qkv").rpartition(".")
    layers: Any = model.get_submodule(family.layers)
    for layer in layers:
        attention = layer.get_submodule(parent)
        setattr(attention, name, SplitLinear(getattr(attention, name)))


def join_blocks(model: PreTrainedModel) -> None:
    """Replace row blocks by the fused module that they were split from, in place, with their weights of now.

    The blocks must be plain linear modules, as they are after updates of LoRA were merged.
    """
    for path, split in [(path, module) for path, module in model.named_modules() if isinstance(module, SplitLinear)]:
        blocks: list[Any] = [getattr(split, name) for name in BLOCKS]
        weight = torch.cat([block.weight.data for block in blocks])
        fused = nn.Linear(weight.shape[1], weight.shape[0], bias=blocks[0].bias is not None, device="meta")
        fused.weight = nn.Parameter(weight, requires_grad=False)
        if blocks[0].bias is not None:
            fused.bias = nn.Parameter(torch.cat([block.bias.data for block in blocks]), requires_grad=False)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, fused)
