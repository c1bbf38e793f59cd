"""The forward pass on flat batches: the libraries' models with our attention, dropout and last layer put in.

``prepare`` changes a model once; ``logits`` runs it, for a single trial or a pack, whose stacked model has the same
modules. A module finds what it needs beside its input in the model's ``ForwardContext``. A model that can't run so keeps
the library's own forward pass and takes padded batches (``tunekit.engine.forward.padded_batch``).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward.attention import FlatSelfAttention
from tunekit.engine.forward.dropout import ForwardContext, MaskKind, Masks, Sites, masked
from tunekit.engine.forward.flat_batch import FlatBatch, flat_batch
from tunekit.engine.forward.padded_batch import PaddedBatch, padded_batch, padded_logits
from tunekit.models.families import FAMILIES


class ContextDropout(nn.Module):
    """``nn.Dropout`` that takes its mask from the forward context."""

    def __init__(self, rate: float, context: ForwardContext) -> None:
        super().__init__()
        self.rate, self.context = rate, context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` (..., width), a row a token of the batch or a row a sequence, with entries dropped in training."""
        rows = x.shape[:-1].numel()
        kind = MaskKind.TOKEN if rows == self.context.batch.input_ids.numel() else MaskKind.SEQUENCE
        dropped = self.context.next_mask(kind, x.shape[-1], self.rate)
        if dropped is None:
            return x
        mask, scale = dropped
        return masked(x, mask.reshape(x.shape), scale)


def _keep_first_tokens(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """In the last layer the residual too is that of first tokens alone."""
    context, hidden, *rest = inputs
    batch = module.tunekit_context.batch
    return (context, hidden.flatten(0, 1).index_select(0, batch.first).view_as(context), *rest)


def patch_model(model: PreTrainedModel, *, padded: bool = False) -> ForwardContext:
    """Put flat attention and dropout into ``model``, in place, and return its context.

    With ``padded`` the model stays as it is.
    """
    context = ForwardContext(padded=padded)
    if padded:
        model.tunekit_context = context
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
    model.tunekit_context = context
    context.found = []
    tokens = TokenisedSplit(np.zeros(5, np.int32), np.zeros(5, np.int8), np.array([0, 2, 5]), 0)
    with torch.no_grad():
        logits(model, batch_of(model, [(tokens, np.arange(2))]))
    context.sites, context.found = Sites(context.found), None
    return context


def backbone_of(model: PreTrainedModel) -> nn.Module:
    """The encoder of a sequence-classification model."""
    return getattr(model, FAMILIES[model.config.model_type].backbone)


def layers_of(model: PreTrainedModel) -> nn.Module:
    """The part of a model's encoder that runs its layers."""
    return getattr(backbone_of(model), FAMILIES[model.config.model_type].encoder)


def batch_of(
    model: PreTrainedModel, parts: list[tuple[TokenisedSplit, np.ndarray]], *, train: bool = False
) -> FlatBatch | PaddedBatch:
    """The sequences of each trial as ``model`` takes them, on its device; ``train``: dropout will be."""
    config = model.config
    if model.tunekit_context.padded:
        [(split, indices)] = parts
        return padded_batch(split, indices, pad_id=config.pad_token_id, device=model.device)
    return flat_batch(
        parts,
        heads=config.num_attention_heads,
        pad_id=config.pad_token_id,
        position_offset=config.pad_token_id + 1 if config.model_type == "roberta" else 0,
        pairs=train and model.tunekit_context.sites.has_pairs,
        device=model.device,
    )


def logits(
    model: PreTrainedModel, batch: FlatBatch | PaddedBatch, masks: Masks | None = None, precision: str = "fp32"
) -> torch.Tensor:
    """Class logits (K * B, C), trial by trial; in fp32 where the precision is bf16."""
    context, backbone = model.tunekit_context, backbone_of(model)
    if isinstance(batch, PaddedBatch):
        with autocast(precision, batch.input_ids.device):
            found = padded_logits(model, batch)
        return found.float() if precision == "bf16" else found
    context.batch, context.masks = batch, masks
    try:
        with autocast(precision, batch.input_ids.device):
            hidden = backbone.embeddings(
                input_ids=batch.input_ids, token_type_ids=batch.token_type_ids, position_ids=batch.position_ids
            )
            if hasattr(backbone, "embeddings_project"):
                hidden = backbone.embeddings_project(hidden)
            first = backbone.encoder(hidden).last_hidden_state.flatten(0, 1).unsqueeze(1)  # (K * B, 1, H)
            if getattr(backbone, "pooler", None) is not None:
                first = model.dropout(backbone.pooler(first))
            found = model.classifier(first)
    finally:
        context.batch = context.masks = None
    return found.float() if precision == "bf16" else found


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Matrix products in ``precision``."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
