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
from transformers.activations import ACT2FN

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward import modernbert
from tunekit.engine.forward.context import ForwardContext, Operations
from tunekit.engine.forward.device_batch import DeviceBatch
from tunekit.engine.forward.device_operations import DeviceOperations
from tunekit.engine.forward.dropout import DropoutMasks, DropoutSite, DropoutSites
from tunekit.engine.forward.flat_batch import FlatBatch, flat_batch
from tunekit.engine.forward.host_operations import HostOperations
from tunekit.engine.forward.modules import (
    ContextDropout,
    ContextGelu,
    FlatSelfAttention,
    ResidualOutput,
    context_of,
    is_changed,
)
from tunekit.engine.forward.padded_batch import PaddedBatch, padded_batch, padded_logits
from tunekit.engine.kernels.masks import DropoutKeys
from tunekit.methods._bottleneck import AdaptedOutput
from tunekit.models.families import FAMILIES


def _keep_first_tokens(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the inputs of the output module of the last layer's attention, with the residual for first tokens only.

    The residual, the second input, comes as (K, T, H) and becomes (K, B, H). The first input, the contexts, has that
    shape already. This is a forward pre-hook.
    """
    attended, hidden, *rest = inputs  # (K, B, H), (K, T, H)
    return (attended, context_of(module).current.first_tokens(hidden), *rest)


def patch_model(model: PreTrainedModel, *, padded: bool = False) -> ForwardContext:
    """Replace the attention and dropout modules of ``model``, in place. Return the model's forward context.

    With ``padded`` the model gets a context, and its modules stay as they are.
    """
    patched: Any = model
    family = FAMILIES[model.config.model_type]
    context = patched.tunekit_context = ForwardContext(padded=padded, on_device=family.on_device and not padded)
    if padded:
        return context
    if family.forward == "modernbert":
        modernbert.patch_layers(model, context)
    else:
        _patch_bert(model, context)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, ContextDropout(child.p, context))
    context.sites = _find_sites(model, context)
    return context


def _patch_bert(model: PreTrainedModel, context: ForwardContext) -> None:
    """Replace the modules in the layers of a model of BERT's kind, in place."""
    layers = backbone_of(model).encoder.layer
    for layer in layers:
        layer.attention.self = FlatSelfAttention(layer.attention.self, context, last=layer is layers[-1])
        if type(layer.intermediate.intermediate_act_fn) is type(ACT2FN["gelu"]):
            layer.intermediate.intermediate_act_fn = ContextGelu(context)
        for owner in (layer.attention, layer):
            if isinstance(owner.output, AdaptedOutput):
                owner.output.norm_of_sum = context.norm_of_sum
            elif _is_the_librarys(owner.output, {"dense", "LayerNorm", "dropout"}):
                owner.output = ResidualOutput(owner.output, context)
    layers[-1].attention.output.tunekit_context = context
    layers[-1].attention.output.register_forward_pre_hook(_keep_first_tokens)


def refuse_foreign_modules(model: PreTrainedModel) -> None:
    """Raise ValueError, which names the module, where running ``model`` on flat batches would undo what a method did.

    ``patch_model`` replaces the attention within a layer and all dropout, and ``logits`` calls neither the model nor
    its backbone as a whole. A method, such as a plugin's, may have put modules of its own there, or hooks.
    """
    family = FAMILIES[model.config.model_type]
    foreign = [name for name in ("", family.backbone) if is_changed(model.get_submodule(name))]
    foreign += [name for name, one in model.named_modules() if type(one) is nn.Dropout and is_changed(one)]
    if family.forward == "modernbert":
        layers = {f"{family.layers}.{number}" for number in range(model.config.num_hidden_layers)}
        replaced = layers | {f"{layer}.attn" for layer in layers}
        foreign += [name for name, one in model.named_modules() if name in replaced and is_changed(one)]
    else:
        foreign += [
            name
            for name, one in model.named_modules()
            if name.endswith(".attention.self") and not _is_the_librarys(one, {"query", "key", "value", "dropout"})
        ]
    if foreign:
        kind = type(model.get_submodule(foreign[0])).__name__
        raise ValueError(
            f"it changes {foreign[0] or 'the model'} ({kind}), which batches without padding leave out; "
            "say padded in the method's class"
        )


def _is_the_librarys(module: nn.Module, parts: set[str]) -> bool:
    """Return whether ``module``, part of a layer, is as the library makes it, with ``parts``, and no method changed it.

    A method, such as a plugin's, may have put another module there, hooked it, or given it further parts.
    """
    return (
        type(module).__module__.startswith("transformers.")
        and parts == {name for name, _ in module.named_children()}
        and not is_changed(module)
    )


def _find_sites(model: PreTrainedModel, context: ForwardContext) -> DropoutSites:
    """Return the uses of dropout in the forward pass of ``model``, which a run on two short sequences finds."""
    tokens = TokenisedSplit(np.zeros(5, np.int32), np.zeros(5, np.int8), np.array([0, 2, 5]), 0)
    batch, sites = cast(FlatBatch, batch_of(model, [(tokens, np.arange(2))])), list[DropoutSite]()
    with torch.no_grad():
        _flat_logits(model, batch, HostOperations(batch, None, sites))
    return DropoutSites(sites)


def backbone_of(model: PreTrainedModel) -> Any:
    """Return the part of a sequence-classification model below its head: the embeddings, the encoder and the pooler."""
    return getattr(model, FAMILIES[model.config.model_type].backbone)


def batch_of(
    model: PreTrainedModel, parts: Sequence[tuple[TokenisedSplit, npt.NDArray[np.int64]]], *, train: bool = False
) -> FlatBatch | PaddedBatch:
    """Return a padded batch on the device of ``model`` if it takes those, else a flat batch.

    Each part is a trial's split and B indices into the split. A padded batch has exactly one part. ``train`` says
    whether the model is trained on the batch, with dropout.
    """
    config, context = model.config, context_of(model)
    pad_id = cast(int, config.pad_token_id)
    if context.padded:
        [(split, indices)] = parts
        return padded_batch(split, indices, pad_id=pad_id, device=model.device)
    batch = flat_batch(
        parts,
        heads=config.num_attention_heads,
        pad_id=pad_id,
        position_offset=position_offset_of(model),
        with_pairs=train and context.sites.has_pairs,
    )
    return batch if model.device.type == "cpu" else batch.to(model.device)


def position_offset_of(model: PreTrainedModel) -> int:
    """Return the id of a sequence's first position."""
    family = FAMILIES[model.config.model_type]
    return cast(int, model.config.pad_token_id) + 1 if family.position_offset else 0


def logits(
    model: PreTrainedModel,
    batch: FlatBatch | PaddedBatch | DeviceBatch,
    masks: DropoutMasks | DropoutKeys | None = None,
    precision: str = "fp32",
) -> torch.Tensor:
    """Return the logits (K * B, C) of ``batch``, one trial after another, in fp32 even if ``precision`` is bf16.

    Dropout follows ``masks``, which are the masks of a flat batch or the keys of a device batch; without them nothing
    is dropped. On a padded batch ``masks`` is unused, and dropout is on if the model is in training mode.
    """
    with autocast(precision, batch.input_ids.device):
        if isinstance(batch, PaddedBatch):
            found = padded_logits(model, batch)
        elif isinstance(batch, DeviceBatch):
            keys = cast(DropoutKeys | None, masks)
            found = _flat_logits(model, batch, DeviceOperations(batch, context_of(model).sites, keys, precision))
        else:
            found = _flat_logits(model, batch, HostOperations(batch, cast(DropoutMasks | None, masks)))
    return found.float() if precision == "bf16" else found


def _flat_logits(model: Any, batch: FlatBatch | DeviceBatch, operations: Operations) -> torch.Tensor:
    """Return the logits (K * B, C), from the library's modules called one by one."""
    context, backbone = context_of(model), backbone_of(model)
    context.operations = operations
    try:
        if isinstance(operations, HostOperations) and FAMILIES[model.config.model_type].forward == "modernbert":
            return modernbert.pooled_logits(model, operations.batch, operations).flatten(0, 1)
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
        context.operations = None


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context manager within which matrix products are computed in ``precision``, fp32 or bf16."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
