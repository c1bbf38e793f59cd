"""A fused module of queries, keys and values as three modules, so that LoRA can change each of them alone.

ModernBERT computes queries, keys and values in one linear module ``Wqkv`` of 3 H outputs. LoRA on the whole module has
one A for all three. LoRA on its rows of queries, ``query``, is LoRA on a module of those rows. Importing this module
brings torch.
"""

from dataclasses import replace
from typing import Any, cast

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


def has_blocks(model: PreTrainedModel) -> bool:
    """Return whether a fused module of ``model`` is split."""
    return any(isinstance(module, SplitLinear) for module in model.modules())


def fuse_blocks(model: PreTrainedModel) -> None:
    """Replace row blocks by fused modules, in place, and LoRA on row blocks by equal LoRA on the fused modules.

    No output changes. The LoRA of n blocks of rank r becomes one of rank n r: its A holds their A one below the other,
    and its B holds each B in the rows of its block and the columns of its A, and zeros elsewhere. The model then has
    the modules of the library, and its ``peft_config`` names the fused modules with their ranks.
    """
    from peft.tuners.lora import LoraLayer

    splits = [(path, module) for path, module in model.named_modules() if isinstance(module, SplitLinear)]
    changed: Any = model
    for path, split in splits:
        blocks: list[Any] = [getattr(split, name) for name in BLOCKS]
        fused = _fused([block.get_base_layer() if isinstance(block, LoraLayer) else block for block in blocks])
        parent, _, name = path.rpartition(".")
        updated = any(isinstance(block, LoraLayer) for block in blocks)
        config = changed.peft_config["default"] if updated else None
        setattr(model.get_submodule(parent), name, _with_updates(fused, blocks, config, path) if updated else fused)
    if splits and hasattr(model, "peft_config"):
        config = changed.peft_config["default"]
        blocks = [f".{path}.{name}" for path, _ in splits for name in BLOCKS]
        others = {target for target in config.target_modules if not any(one.endswith(f".{target}") for one in blocks)}
        config.target_modules = others | set(config.rank_pattern)


def _fused(blocks: list[Any]) -> nn.Linear:
    """Return the linear module, frozen, whose rows are those of ``blocks``."""
    weight = torch.cat([block.weight.data for block in blocks])
    fused = nn.Linear(weight.shape[1], weight.shape[0], bias=blocks[0].bias is not None, device="meta")
    fused.weight = nn.Parameter(weight, requires_grad=False)
    if blocks[0].bias is not None:
        fused.bias = nn.Parameter(torch.cat([block.bias.data for block in blocks]), requires_grad=False)
    return fused


def _with_updates(fused: nn.Linear, blocks: list[Any], config: Any, path: str) -> nn.Module:
    """Return ``fused`` with LoRA that equals the LoRA of its ``blocks``. ``config`` gets its rank under ``path``."""
    from peft.tuners.lora import Linear, LoraLayer

    tuned = [(row, block) for row, block in enumerate(blocks) if isinstance(block, LoraLayer)]
    rank, scaling = config.r * len(tuned), tuned[0][1].scaling["default"]
    alpha = scaling * (rank**0.5 if config.use_rslora else rank)
    config.rank_pattern, config.alpha_pattern = config.rank_pattern | {path: rank}, config.alpha_pattern | {path: alpha}
    # PiSSA's initialisation would change the weights of the fused module, and A and B are overwritten below anyway.
    plain = replace(config, init_lora_weights=True)
    layer: Any = Linear(fused, "default", plain, r=rank, lora_alpha=alpha)
    rows = fused.out_features // len(blocks)
    down, up = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data.zero_()
    for place, (row, block) in enumerate(tuned):
        at = slice(place * config.r, (place + 1) * config.r)
        down[at] = block.lora_A["default"].weight.data
        up[row * rows : (row + 1) * rows, at] = block.lora_B["default"].weight.data
        if config.use_dora:  # rows of other blocks keep the magnitudes that their weights have
            magnitude = layer.lora_magnitude_vector["default"].weight.data
            magnitude[row * rows : (row + 1) * rows] = block.lora_magnitude_vector["default"].weight.data
    return cast(nn.Module, layer)
