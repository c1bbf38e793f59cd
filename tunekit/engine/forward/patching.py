"""Replace the attention and dropout modules of a library's model, and run the model on flat batches.

``patch_model`` changes a model once, in place. ``batch_of`` makes a batch for the model. ``logits`` runs the model on
the batch and returns logits (K * B, C). All three serve a single trial and a pack, since the stacked model of a pack
has the same modules. The modules read the batch and the dropout masks from the model's ``ForwardContext``. A model that
can't be trained without padding keeps the library's own forward pass and takes padded batches
(``tunekit.engine.forward.padded_batch``).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from tunekit.data.tokens import TokenisedSplit
from tunekit.engine.forward import bert, modernbert
from tunekit.engine.forward.context import ForwardContext, Operations
from tunekit.engine.forward.device_batch import DeviceBatch
from tunekit.engine.forward.device_operations import DeviceOperations
from tunekit.engine.forward.dropout import DropoutMasks, DropoutSite, DropoutSites
from tunekit.engine.forward.flat_batch import FlatBatch, flat_batch
from tunekit.engine.forward.host_operations import HostOperations
from tunekit.engine.forward.modules import ContextDropout, context_of, is_changed
from tunekit.engine.forward.padded_batch import PaddedBatch, padded_batch, padded_logits
from tunekit.engine.kernels.masks import DropoutKeys
from tunekit.models.families import FAMILIES


class Architecture(Protocol):
    """How encoders of one kind run without padding. A module of this package is the architecture of each kind."""

    def patch_layers(self, model: PreTrainedModel, context: ForwardContext) -> None:
        """Replace the modules in the layers of ``model``, in place."""

    def foreign_modules(self, model: PreTrainedModel) -> list[str]:
        """Return the names of the modules that ``patch_layers`` replaces and a method has changed as a whole."""

    def flat_logits(self, model: Any, batch: FlatBatch | DeviceBatch, operations: Operations) -> torch.Tensor:
        """Return the logits (K * B, C), or (K * T, C), of a patched model, from its modules called one by one."""


ARCHITECTURES: Mapping[str, Architecture] = {"bert": bert, "modernbert": modernbert}
"""The architectures by the names that families give in ``Family.forward``."""


def _architecture_of(model: PreTrainedModel) -> Architecture:
    return ARCHITECTURES[FAMILIES[model.config.model_type].forward]


def patch_model(model: PreTrainedModel, *, padded: bool = False, of_words: bool = False) -> ForwardContext:
    """Replace the attention and dropout modules of ``model``, in place. Return the model's forward context.

    With ``padded`` the model gets a context, and its modules stay as they are. ``of_words`` says that the model has a
    head for tokens.
    """
    patched: Any = model
    family = FAMILIES[model.config.model_type]
    context = patched.tunekit_context = ForwardContext(
        padded=padded, on_device=family.on_device and not padded, of_words=of_words
    )
    if padded:
        return context
    _architecture_of(model).patch_layers(model, context)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, ContextDropout(child.p, context))
    context.sites = _find_sites(model, context)
    return context


def refuse_foreign_modules(model: PreTrainedModel) -> None:
    """Raise ValueError, which names the module, where running ``model`` on flat batches would undo what a method did.

    ``patch_model`` replaces the attention within a layer and all dropout, and ``logits`` calls neither the model nor
    its backbone as a whole. A method, such as a plugin's, may have put modules of its own there, or hooks.
    """
    family = FAMILIES[model.config.model_type]
    foreign = [name for name in ("", family.backbone) if is_changed(model.get_submodule(name))]
    foreign += [name for name, one in model.named_modules() if type(one) is nn.Dropout and is_changed(one)]
    foreign += _architecture_of(model).foreign_modules(model)
    if foreign:
        kind = type(model.get_submodule(foreign[0])).__name__
        raise ValueError(
            f"it changes {foreign[0] or 'the model'} ({kind}), which batches without padding leave out; "
            "say padded in the method's class"
        )


def _find_sites(model: PreTrainedModel, context: ForwardContext) -> DropoutSites:
    """Return the uses of dropout in the forward pass of ``model``, found by a run on two short sequences."""
    tokens = TokenisedSplit(np.zeros(5, np.int32), np.zeros(5, np.int8), np.array([0, 2, 5]), 0)
    batch, sites = cast(FlatBatch, batch_of(model, [(tokens, np.arange(2))])), list[DropoutSite]()
    with torch.no_grad():
        _flat_logits(model, batch, HostOperations(batch, None, sites))
    return DropoutSites(sites)


def batch_of(
    model: PreTrainedModel, parts: Sequence[tuple[TokenisedSplit, npt.NDArray[np.int64]]], *, train: bool = False
) -> FlatBatch | PaddedBatch:
    """Return a padded batch if ``model`` takes padded batches, else a flat batch, on the model's device.

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

    A head for tokens computes (K * T, C), and on a padded batch (N, C).

    Dropout follows ``masks``, which are the masks of a flat batch or the keys of a device batch; without them nothing
    is dropped. On a padded batch ``masks`` is unused, and dropout is on if the model is in training mode.
    """
    with autocast(precision, batch.input_ids.device):
        if isinstance(batch, PaddedBatch):
            found = padded_logits(model, batch, of_words=context_of(model).of_words)
        elif isinstance(batch, DeviceBatch):
            keys = cast(DropoutKeys | None, masks)
            found = _flat_logits(model, batch, DeviceOperations(batch, context_of(model).sites, keys, precision))
        else:
            found = _flat_logits(model, batch, HostOperations(batch, cast(DropoutMasks | None, masks)))
    return found.float() if precision == "bf16" else found


def _flat_logits(model: PreTrainedModel, batch: FlatBatch | DeviceBatch, operations: Operations) -> torch.Tensor:
    """Return the logits (K * B, C), or (K * T, C), by ``operations``, which the model's modules find in its context."""
    context = context_of(model)
    context.operations = operations
    try:
        return _architecture_of(model).flat_logits(model, batch, operations)
    finally:
        context.operations = None


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context manager within which matrix products are computed in ``precision``, fp32 or bf16."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
