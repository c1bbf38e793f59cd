"""The forward pass on flat batches: the libraries' models with our attention, dropout and last layer put in.

``prepare`` changes a model once; ``logits`` runs it, for a single trial or a pack, whose stacked model has the same
modules. What a module needs beside its input it finds in the model's ``Flow``. A model that can't run so stays the
library's own and takes padded batches (``tunekit.engine.forward.padded_batch``).
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward.attention import FlatSelfAttention
from tunekit.engine.forward.dropout import LEVELS, Kind, Masks, Site, Sites, masked
from tunekit.engine.forward.flat_batch import FlatBatch, flat_batch
from tunekit.engine.forward.padded_batch import PaddedBatch, padded_batch, padded_logits
from tunekit.models.loading import MODEL_TYPES


@dataclass
class Flow:
    """What the forward pass at hand works on. One a model."""

    padded: bool = False
    """Whether batches are padded; all else is then of no use."""
    batch: FlatBatch | None = None
    masks: Masks | None = None
    """None where nothing is dropped."""
    sites: Sites = field(default_factory=lambda: Sites(()))
    found: list[Site] | None = None
    """Where ``prepare`` lists the uses of dropout."""

    def take(self, kind: Kind, width: int, rate: float) -> tuple[torch.Tensor, float] | None:
        """The next mask and its scale; None where nothing is dropped."""
        if self.found is not None and rate > 0:
            self.found.append(Site(kind, width, round(rate * LEVELS)))
        return None if self.masks is None or rate == 0 else self.masks.take(kind)


class FlowDropout(nn.Module):
    """``nn.Dropout`` that takes its mask from the flow."""

    def __init__(self, rate: float, flow: Flow) -> None:
        super().__init__()
        self.rate, self.flow = rate, flow

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` (..., width), a row a token of the batch or a row a sequence, with entries dropped in training."""
        rows = x.shape[:-1].numel()
        kind = Kind.TOKEN if rows == self.flow.batch.input_ids.numel() else Kind.SEQUENCE
        dropped = self.flow.take(kind, x.shape[-1], self.rate)
        if dropped is None:
            return x
        mask, scale = dropped
        return masked(x, mask.reshape(x.shape), scale)


def _keep_first_tokens(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """In the last layer the residual too is that of first tokens alone."""
    context, hidden, *rest = inputs
    batch = module.tunekit_flow.batch
    return (context, hidden.flatten(0, 1).index_select(0, batch.first).view_as(context), *rest)


def prepare(model: PreTrainedModel, *, padded: bool = False) -> Flow:
    """Put flat attention and dropout into ``model``, in place, and return its flow; ``padded``: leave it as it is."""
    flow = Flow(padded=padded)
    if padded:
        model.tunekit_flow = flow
        return flow
    layers = backbone_of(model).encoder.layer
    for layer in layers:
        layer.attention.self = FlatSelfAttention(layer.attention.self, flow, last=layer is layers[-1])
    layers[-1].attention.output.tunekit_flow = flow
    layers[-1].attention.output.register_forward_pre_hook(_keep_first_tokens)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, FlowDropout(child.p, flow))
    model.tunekit_flow = flow
    flow.found = []
    tokens = TokenisedSplit(np.zeros(5, np.int32), np.zeros(5, np.int8), np.array([0, 2, 5]), 0)
    with torch.no_grad():
        logits(model, batch_of(model, [(tokens, np.arange(2))]))
    flow.sites, flow.found = Sites(flow.found), None
    return flow


def backbone_of(model: PreTrainedModel) -> nn.Module:
    """The encoder of a sequence-classification model."""
    return getattr(model, MODEL_TYPES[model.config.model_type].backbone)


def layers_of(model: PreTrainedModel) -> nn.Module:
    """The part of a model's encoder that runs its layers."""
    return getattr(backbone_of(model), MODEL_TYPES[model.config.model_type].encoder)


def batch_of(
    model: PreTrainedModel, parts: list[tuple[TokenisedSplit, np.ndarray]], *, train: bool = False
) -> FlatBatch | PaddedBatch:
    """The sequences of each trial as ``model`` takes them, on its device; ``train``: dropout will be."""
    config = model.config
    if model.tunekit_flow.padded:
        [(split, indices)] = parts
        return padded_batch(split, indices, pad_id=config.pad_token_id, device=model.device)
    return flat_batch(
        parts,
        heads=config.num_attention_heads,
        pad_id=config.pad_token_id,
        position_offset=config.pad_token_id + 1 if config.model_type == "roberta" else 0,
        pairs=train and model.tunekit_flow.sites.has_pairs,
        device=model.device,
    )


def logits(
    model: PreTrainedModel, batch: FlatBatch | PaddedBatch, masks: Masks | None = None, precision: str = "fp32"
) -> torch.Tensor:
    """Class logits (K * B, C), trial by trial; in fp32 where the precision is bf16."""
    flow, backbone = model.tunekit_flow, backbone_of(model)
    if isinstance(batch, PaddedBatch):
        with autocast(precision, batch.input_ids.device):
            found = padded_logits(model, batch)
        return found.float() if precision == "bf16" else found
    flow.batch, flow.masks = batch, masks
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
        flow.batch = flow.masks = None
    return found.float() if precision == "bf16" else found


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Matrix products in ``precision``."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
