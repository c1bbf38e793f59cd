"""Replace the attention and dropout modules of a library's model, and run the model on flat batches.

``patch_model`` changes a model once, in place. ``batch_of`` makes a batch for the model. ``logits`` runs the model on
the batch and returns logits (K * B, C). All three serve a single trial and a pack, since the stacked model of a pack
has the same modules. The modules read the batch and the dropout masks from the model's ``ForwardContext``. A model that
can't be trained without padding keeps the library's own forward pass and takes padded batches
(``tunekit.engine.forward.padded_batch``).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward.attention import FlatSelfAttention
from tunekit.engine.forward.dropout import DropoutMasks, DropoutSites, ForwardContext, MaskKind, apply_mask
from tunekit.engine.forward.flat_batch import FlatBatch, flat_batch
from tunekit.engine.forward.padded_batch import PaddedBatch, padded_batch, padded_logits
from tunekit.models.families import FAMILIES


class ContextDropout(nn.Module):
    """Dropout that takes its mask from the forward context. It replaces ``nn.Dropout`` in a patched model."""

    def __init__(self, rate: float, context: ForwardContext) -> None:
        super().__init__()
        self.rate, self.context = rate, context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` (K, T, width) or (K, B, width) with entries dropped in training."""
        # The number of rows tells whether x has one row for each token or one for each sequence. The two numbers
        # differ, since a sequence has at least two tokens.
        rows = x.shape[:-1].numel()
        kind = MaskKind.TOKEN if rows == self.context.flat_batch.input_ids.numel() else MaskKind.SEQUENCE
        dropped = self.context.next_mask(kind, x.shape[-1], self.rate)
        if dropped is None:
            return x
        mask, scale = dropped
        return apply_mask(x, mask.reshape(x.shape), scale)


def _keep_first_tokens(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the inputs of the output module of the last layer's attention, with the residual for first tokens only.

    The residual, the second input, comes as (K, T, H) and becomes (K, B, H). The first input, the contexts, has that
    shape already. This is a forward pre-hook.
    """
    attended, hidden, *rest = inputs  # (K, B, H), (K, T, H)
    first_tokens = context_of(module).flat_batch.first_tokens
    return (attended, hidden.flatten(0, 1).index_select(0, first_tokens).view_as(attended), *rest)


def context_of(module: nn.Module) -> ForwardContext:
    """Return the forward context that ``patch_model`` has set on ``module``: the model, or its last layer's module."""
    return cast(ForwardContext, module.tunekit_context)


def patch_model(model: PreTrainedModel, *, padded: bool = False) -> ForwardContext:
    """Replace the attention and dropout modules of ``model``, in place. Return the model's forward context.

    With ``padded`` the model gets a context, and its modules stay as they are.
    """
    patched: Any = model
    context = patched.tunekit_context = ForwardContext(padded=padded)
    if padded:
        return context
    layers = backbone_of(model).encoder.layer
    for layer in layers:
        layer.attention.self = FlatSelfAttention(layer.attention.self, context, last=layer is layers[-1])
    layers[-1].attention.output.tunekit_context = context
    layers[-1].attention.output.register_forward_pre_hook(_keep_first_tokens)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, ContextDropout(child.p, context))
    context.sites = _find_sites(model, context)
    return context


def _find_sites(model: PreTrainedModel, context: ForwardContext) -> DropoutSites:
    """Return the uses of dropout in the forward pass of ``model``, which a run on two short sequences finds."""
    context.found_sites = []
    tokens = TokenisedSplit(np.zeros(5, np.int32), np.zeros(5, np.int8), np.array([0, 2, 5]), 0)
    with torch.no_grad():
        logits(model, batch_of(model, [(tokens, np.arange(2))]))
    sites, context.found_sites = DropoutSites(context.found_sites), None
    return sites


def backbone_of(model: PreTrainedModel) -> Any:
    """Return the part of a sequence-classification model below its head: the embeddings, the encoder and the pooler."""
    return getattr(model, FAMILIES[model.config.model_type].backbone)


def layers_of(model: PreTrainedModel) -> nn.Module:
    """Return the encoder of a model, the module that runs its layers."""
    layers: nn.Module = getattr(backbone_of(model), FAMILIES[model.config.model_type].encoder)
    return layers


def batch_of(
    model: PreTrainedModel, parts: Sequence[tuple[TokenisedSplit, npt.NDArray[np.int64]]], *, train: bool = False
) -> FlatBatch | PaddedBatch:
    """Return a batch on the device of ``model``: a padded batch if the model takes those, else a flat one.

    Each part is a trial's split and B indices into the split. A padded batch has exactly one part. ``train`` says
    whether the model is trained on the batch, with dropout.
    """
    config, context = model.config, context_of(model)
    pad_id = cast(int, config.pad_token_id)
    if context.padded:
        [(split, indices)] = parts
        return padded_batch(split, indices, pad_id=pad_id, device=model.device)
    return flat_batch(
        parts,
        heads=config.num_attention_heads,
        pad_id=pad_id,
        position_offset=pad_id + 1 if FAMILIES[config.model_type].position_offset else 0,
        with_pairs=train and context.sites.has_pairs,
        device=model.device,
    )


def logits(
    model: PreTrainedModel,
    batch: FlatBatch | PaddedBatch,
    masks: DropoutMasks | None = None,
    precision: str = "fp32",
) -> torch.Tensor:
    """Return the logits (K * B, C) of ``batch``, one trial after another, in fp32 even if ``precision`` is bf16.

    On a flat batch dropout follows ``masks``, and without them nothing is dropped. On a padded batch ``masks`` is
    unused, and dropout is on if the model is in training mode.
    """
    with autocast(precision, batch.input_ids.device):
        found = padded_logits(model, batch) if isinstance(batch, PaddedBatch) else _flat_logits(model, batch, masks)
    return found.float() if precision == "bf16" else found


def _flat_logits(model: Any, batch: FlatBatch, masks: DropoutMasks | None) -> torch.Tensor:
    """Return the logits (K * B, C), from the library's modules called one by one."""
    context, backbone = context_of(model), backbone_of(model)
    context.batch, context.masks = batch, masks
    try:
        hidden = backbone.embeddings(
            input_ids=batch.input_ids, token_type_ids=batch.token_type_ids, position_ids=batch.position_ids
        )  # (K, T, H)
        if hasattr(backbone, "embeddings_project"):
            hidden = backbone.embeddings_project(hidden)
        first = backbone.encoder(hidden).last_hidden_state  # (K, B, H): the last layer returns first tokens only
        first = first.flatten(0, 1).unsqueeze(1)  # (K * B, 1, H): heads and poolers read position 0
        if getattr(backbone, "pooler", None) is not None:
            first = model.dropout(backbone.pooler(first))
        found: torch.Tensor = model.classifier(first)
        return found
    finally:
        context.batch = context.masks = None


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context manager within which matrix products are computed in ``precision``, fp32 or bf16."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
