"""The forward pass of ModernBERT (Warner et al., 2024) on flat batches, by modules in the place of the library's.

A layer's norms come before its attention and its feed-forward part, not after the residual sums. One linear module
``Wqkv`` computes queries, keys and values. Positions rotate queries and keys (Su et al., 2021). The queries of a
*local* layer see the tokens at most half a window away, and those of a *global* layer see the whole sequence. The head
pools the first token of each sequence or the mean of its tokens. ``tunekit.engine.forward`` explains the other words,
and the letters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.engine.forward.context import ForwardContext, Operations
from tunekit.engine.forward.device_batch import DeviceBatch
from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.engine.forward.host_operations import HostOperations
from tunekit.engine.forward.modules import is_changed
from tunekit.errors import UserError


@dataclass(frozen=True)
class Rotation:
    """The angles by which positions rotate the rows of attention heads."""

    cos: torch.Tensor
    """(K, T, 1, D) fp32."""
    sin: torch.Tensor
    """(K, T, 1, D) fp32."""

    @classmethod
    def of(cls, positions: torch.Tensor, theta: float, head_size: int) -> "Rotation":
        """Return the angles at ``positions`` (K, T) for the base ``theta``."""
        exponents = torch.arange(0, head_size, 2, dtype=torch.float32, device=positions.device) / head_size
        angles = positions[..., None].float() * (1.0 / theta**exponents)  # (K, T, D / 2)
        both = torch.cat([angles, angles], -1).unsqueeze(2)
        return cls(both.cos(), both.sin())

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rotated ``rows`` (K, T, A, D), in their own precision."""
        x = rows.float()
        # Entry i of a row is rotated with entry i + D / 2, and not with its neighbour.
        first, second = x.chunk(2, -1)
        return (x * self.cos + torch.cat([-second, first], -1) * self.sin).to(rows.dtype)


@dataclass(frozen=True)
class LayerAttention:
    """The settings of a layer's attention, from the model's config."""

    theta: float
    """The base of the rotation's angles."""
    window: int | None
    """The largest distance in tokens at which a query sees a key; None where it sees the whole sequence."""


def attention_of(config: Any, layer: int) -> LayerAttention:
    """Return the settings of attention in ``layer``. ``config`` is that of transformers 4 or 5.

    Raises UserError where the config scales its rotations.
    """
    if hasattr(config, "layer_types"):  # version 5
        kind = config.layer_types[layer]
        parameters = config.rope_parameters[kind]
        scaling, theta, local = parameters["rope_type"], parameters["rope_theta"], kind == "sliding_attention"
    else:
        scaling, local = config.to_dict().get("rope_scaling"), layer % config.global_attn_every_n_layers != 0
        theta = config.global_rope_theta
        if local and config.local_rope_theta is not None:
            theta = config.local_rope_theta
    if scaling not in (None, "default"):
        raise UserError(f"model type modernbert: rope_scaling is {scaling!r}; only plain rotations are trained")
    return LayerAttention(float(theta), config.local_attention // 2 if local else None)


class FlatRotaryAttention(nn.Module):
    """Attention with rotated queries and keys, with the library's parameters."""

    def __init__(self, library: Any, context: ForwardContext, config: Any, kind: LayerAttention, *, last: bool) -> None:
        """``library`` is the module that this one replaces. ``last`` says that only first tokens are queries."""
        super().__init__()
        self.Wqkv, self.Wo, self.out_drop = library.Wqkv, library.Wo, library.out_drop
        self.heads: int = config.num_attention_heads
        self.head_size: int = config.hidden_size // self.heads
        self.rate = float(config.attention_dropout)
        self.theta, self.window = kind.theta, kind.window
        self.context, self.last = context, last

    def forward(self, hidden: torch.Tensor, rotate: Rotation) -> torch.Tensor:
        """Return what attention adds to the states ``hidden`` (K, T, H): (K, T, H), or (K, B, H) in the last layer."""
        queries, keys, values = self.Wqkv(hidden).chunk(3, -1)  # (K, T, H) each
        heads = (*hidden.shape[:-1], self.heads, self.head_size)
        keys = rotate(keys.reshape(heads)).flatten(2)
        # The first token of a sequence is at position 0, which rotates nothing.
        queries = self._host.first_tokens(queries) if self.last else rotate(queries.reshape(heads)).flatten(2)
        contexts = self._host.attention_of_rows(self, queries, keys, values)
        attended: torch.Tensor = self.out_drop(self.Wo(contexts))
        return attended

    @property
    def _host(self) -> HostOperations:
        return cast(HostOperations, self.context.current)


class FlatPreNormLayer(nn.Module):
    """An encoder layer whose norms come before attention and before the feed-forward part."""

    def __init__(self, library: Any, attention: FlatRotaryAttention) -> None:
        """``library`` is the layer that this one replaces. The norm before attention is an identity in the first."""
        super().__init__()
        self.attn_norm, self.attn, self.mlp_norm, self.mlp = (
            library.attn_norm, attention, library.mlp_norm, library.mlp,
        )  # fmt: skip

    def forward(self, hidden: torch.Tensor, rotations: Mapping[float, Rotation]) -> torch.Tensor:
        """Return the states (K, T, H) after the layer, or (K, B, H) of first tokens alone; ``rotations`` by base."""
        attended = self.attn(self.attn_norm(hidden), rotations[self.attn.theta])
        residual = self.attn.context.current.first_tokens(hidden) if self.attn.last else hidden
        states = residual + attended
        after: torch.Tensor = states + self.mlp(self.mlp_norm(states))
        return after


def patch_layers(model: PreTrainedModel, context: ForwardContext) -> None:
    """Replace the layers of ``model``, a ModernBERT with a head for sequences or for tokens, in place.

    Raises UserError where a method has changed a layer or its attention as a whole, which would be lost, and where
    the config asks for a rotation that is scaled.
    """
    config: Any = model.config
    layers: Any = cast(Any, model).model.layers
    if hasattr(config, "reference_compile"):
        config.reference_compile = False  # transformers 4 would compile the embeddings and the feed-forward part
    for number, layer in enumerate(layers):
        for module in (layer, layer.attn):
            if is_changed(module):
                raise UserError(f"layer {number}: a method has changed {type(module).__name__} as a whole")
        # A head for tokens and the mean over tokens read them all.
        last = number == len(layers) - 1 and config.classifier_pooling == "cls" and not context.of_words
        attention = FlatRotaryAttention(layer.attn, context, config, attention_of(config, number), last=last)
        layers[number] = FlatPreNormLayer(layer, attention).train(layer.training)


def foreign_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the layers and their attention that a method has changed as a whole."""
    layers = {f"model.layers.{number}" for number in range(model.config.num_hidden_layers)}
    replaced = layers | {f"{layer}.attn" for layer in layers}
    return [name for name, one in model.named_modules() if name in replaced and is_changed(one)]


def flat_logits(model: Any, batch: FlatBatch | DeviceBatch, operations: Operations) -> torch.Tensor:
    """Return the logits (K * B, C), or (K * T, C), of a patched model, from its modules called one by one."""
    backbone = model.model
    attentions = [layer.attn for layer in backbone.layers]
    rotations = {one.theta: Rotation.of(batch.position_ids, one.theta, one.head_size) for one in attentions}
    hidden = backbone.embeddings(input_ids=batch.input_ids)  # (K, T, H)
    for layer in backbone.layers:
        hidden = layer(hidden, rotations)
    hidden = backbone.final_norm(hidden)
    last = attentions[-1]
    reads_rows = last.last or last.context.of_words
    pooled = hidden if reads_rows else cast(HostOperations, operations).means(hidden)  # (K, B, H) or (K, T, H)
    found: torch.Tensor = model.classifier(model.drop(model.head(pooled)))
    return found.flatten(0, 1)
