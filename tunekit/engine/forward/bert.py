"""The forward pass of BERT (Devlin et al., 2019) without padding, by modules in the place of the library's.

RoBERTa and ELECTRA are of the same kind. Norms follow the residual sums, and the queries, keys and values of a layer
are three linear modules. Unless words have labels, the head reads first tokens alone, and the last layer computes no
others.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from tunekit.engine.forward.context import ForwardContext, Operations
from tunekit.engine.forward.device_batch import DeviceBatch
from tunekit.engine.forward.flat_batch import FlatBatch
from tunekit.engine.forward.modules import (
    FlatSelfAttention,
    LinearGelu,
    ResidualOutput,
    backbone_of,
    context_of,
    is_changed,
)
from tunekit.methods._bottleneck import AdaptedOutput


def patch_layers(model: PreTrainedModel, context: ForwardContext) -> None:
    """Replace the modules in the layers of ``model``, in place."""
    layers = backbone_of(model).encoder.layer
    for layer in layers:
        last = layer is layers[-1] and not context.of_words
        layer.attention.self = FlatSelfAttention(layer.attention.self, context, last=last)
        inner = layer.intermediate
        if _is_the_librarys(inner, {"dense", "intermediate_act_fn"}) and (
            type(inner.intermediate_act_fn) is type(ACT2FN["gelu"])
        ):
            layer.intermediate = LinearGelu(inner, context)
        for owner in (layer.attention, layer):
            if isinstance(owner.output, AdaptedOutput):
                owner.output.norm_of_sum = context.norm_of_sum
            elif _is_the_librarys(owner.output, {"dense", "LayerNorm", "dropout"}):
                owner.output = ResidualOutput(owner.output, context)
    if not context.of_words:
        layers[-1].attention.output.tunekit_context = context
        layers[-1].attention.output.register_forward_pre_hook(_keep_first_tokens)


def foreign_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that ``patch_layers`` replaces and a method has changed as a whole."""
    return [
        name
        for name, one in model.named_modules()
        if name.endswith(".attention.self") and not _is_the_librarys(one, {"query", "key", "value", "dropout"})
    ]


def flat_logits(model: Any, batch: FlatBatch | DeviceBatch, operations: Operations) -> torch.Tensor:
    """Return the logits (K * B, C), or (K * T, C), of a patched model, from its modules called one by one."""
    backbone = backbone_of(model)
    hidden = backbone.embeddings(
        input_ids=batch.input_ids, token_type_ids=batch.token_type_ids, position_ids=batch.position_ids
    )  # (K, T, H)
    if hasattr(backbone, "embeddings_project"):
        hidden = backbone.embeddings_project(hidden)
    states = backbone.encoder(hidden).last_hidden_state
    found: torch.Tensor
    if context_of(model).of_words:
        found = model.classifier(model.dropout(states)).flatten(0, 1)
        return found
    # The last layer returns first tokens only, (K, B, H). Heads and poolers read position 0 of (K * B, 1, H).
    first = states.flatten(0, 1).unsqueeze(1)
    if getattr(backbone, "pooler", None) is not None:
        first = model.dropout(backbone.pooler(first))
    found = model.classifier(first)
    return found


def _keep_first_tokens(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the inputs of the output module of the last layer's attention, with the residual for first tokens only.

    The residual, the second input, comes as (K, T, H) and becomes (K, B, H). The first input, the contexts, has that
    shape already. This is a forward pre-hook.
    """
    attended, hidden, *rest = inputs  # (K, B, H), (K, T, H)
    return (attended, context_of(module).current.first_tokens(hidden), *rest)


def _is_the_librarys(module: nn.Module, parts: set[str]) -> bool:
    """Return whether ``module``, part of a layer, is as the library makes it, with ``parts``, and no method changed it.

    A method, such as a plugin's, may have put another module there, hooked it, or given it further parts.
    """
    return (
        type(module).__module__.startswith("transformers.")
        and parts == {name for name, _ in module.named_children()}
        and not is_changed(module)
    )
