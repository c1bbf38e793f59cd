"""K models of one structure as one model: trainable leaves get a leading trial axis, frozen weights stay shared.

After HFTA (Wang et al., 2021), with ranks and bottlenecks that may differ: smaller weights are padded with zeros, which
AdamW leaves at exactly 0 (``tunekit.engine.buffers``).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from tunekit.engine.buffers import Buffers
from tunekit.engine.forward.modules import is_changed


class _Stacked(nn.Module):
    """A leaf whose ``weight`` and ``bias`` have a leading trial axis where they are trained, else are shared."""

    weight: Any
    bias: Any

    def __init__(self, leaf: Any) -> None:
        super().__init__()
        self.weight, self.bias = leaf.weight, getattr(leaf, "bias", None)


def _by_trial(x: torch.Tensor, num_trials: int) -> torch.Tensor:
    """Return ``x`` (K, rows, ..., n), or (K * rows, ..., n), as (K, rows, n): the rows of a trial lie together."""
    return x.reshape(num_trials, -1, x.shape[-1])


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return the outputs (..., out) of K linear modules for ``x`` (..., in), the rows of one trial after another.

    Weights are (K, out, in) and biases (K, out), each without K where the trials share it.
    """
    if weight.dim() == 2:
        if bias is None or bias.dim() == 1:
            return F.linear(x, weight, bias)
        y = F.linear(x, weight)  # only the bias is trained, as BitFit does
        added: torch.Tensor = _by_trial(y, len(bias)) + bias[:, None, :]
        return added.view_as(y)
    rows = _by_trial(x, len(weight))  # (K, rows, in)
    if bias is None:
        y = torch.bmm(rows, weight.transpose(1, 2))
    else:
        y = torch.baddbmm(bias[:, None, :] if bias.dim() == 2 else bias, rows, weight.transpose(1, 2))
    return y.view(*x.shape[:-1], y.shape[-1])


class StackedLinear(_Stacked):
    """K linear modules, whose weights and biases are those of ``linear``."""

    scale: torch.Tensor | None = None
    """(K, 1, 1), the factor of each module's output, as LoRA's scaling is; None where there is none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (..., out) of ``x`` (..., in)."""
        return linear(x, self.weight if self.scale is None else self.weight * self.scale, self.bias)


class StackedLayerNorm(_Stacked):
    """K layer norms. Weights and biases are (K, H), or (H,) where frozen and shared; there may be no biases."""

    def __init__(self, leaf: nn.LayerNorm) -> None:
        super().__init__(leaf)
        self.shape, self.eps = leaf.normalized_shape, leaf.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised ``x`` (..., H)."""
        weight, bias = self.weight, self.bias
        num_trials = next(len(p) for p in (weight, bias) if p is not None and p.dim() == 2)
        rows = _by_trial(F.layer_norm(x, self.shape, eps=self.eps), num_trials)
        weight = weight[:, None, :] if weight.dim() == 2 else weight
        if bias is None:
            return torch.mul(rows, weight).view_as(x)
        return torch.addcmul(bias[:, None, :] if bias.dim() == 2 else bias, rows, weight).view_as(x)


class StackedEmbedding(_Stacked):
    """K embeddings of V entries (K, V, H)."""

    def __init__(self, leaf: nn.Embedding) -> None:
        super().__init__(leaf)
        self.padding_idx = leaf.padding_idx

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors (K, T, H) of ``ids`` (K, T)."""
        pairs = zip(ids, self.weight, strict=True)
        return torch.stack([F.embedding(row, weight, self.padding_idx) for row, weight in pairs])


STACKED: dict[type[nn.Module], Any] = {
    nn.Linear: StackedLinear, nn.LayerNorm: StackedLayerNorm, nn.Embedding: StackedEmbedding,
}  # fmt: skip
"""The stacked module of each leaf, which is a module whose trainable parameters can be stacked."""


def is_stackable(model: nn.Module) -> bool:
    """Return whether every trainable parameter of ``model`` belongs to a leaf or a stacked leaf.

    A leaf that a method has hooked can't be stacked, since the stacked leaf would be without the hook.
    """
    leaves = {*STACKED, *STACKED.values()}
    return all(
        type(module) in leaves and not is_changed(module)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.requires_grad
    )


def stacked_model(models: Sequence[PreTrainedModel], buffers: Buffers) -> PreTrainedModel:
    """Return a model of the first one's structure that runs all ``models``, whose trained weights ``buffers`` hold.

    No weight is copied. The frozen weights of all models are the first one's from here on.
    """
    _share_frozen(models)
    # deepcopy takes what the memo holds for copied already.
    memo: dict[int, Any] = {id(p): p for p in models[0].parameters()} | {id(b): b for b in models[0].buffers()}
    model = copy.deepcopy(models[0], memo)
    modules = [dict(one.named_modules()) for one in models]
    leaves: dict[str, nn.Module] = {}
    for piece in buffers.pieces:
        owner, _, name_in_leaf = piece.name.rpartition(".")
        if owner not in leaves:
            leaves[owner] = _stack_leaf(owner, modules)
        setattr(leaves[owner], name_in_leaf, nn.Parameter(piece.stacked(buffers.weights)))
    for owner, leaf in leaves.items():
        parent, _, name = owner.rpartition(".")
        setattr(model.get_submodule(parent), name, leaf)
    module: Any
    for module in model.modules():
        # Each trial's own LoRA scaling, alpha / r, is in the stacked B.
        if isinstance(getattr(module, "lora_B", None), nn.ModuleDict):
            module.scaling = dict.fromkeys(module.scaling, 1.0)
    return model


def _share_frozen(models: Sequence[PreTrainedModel]) -> None:
    """Let all models use the first one's copy of the weights that none of them trains."""
    frozen = {name: weight for name, weight in models[0].named_parameters() if not weight.requires_grad}
    for model in models[1:]:
        for name, weight in model.named_parameters():
            if name in frozen:
                weight.data = frozen[name].data


def _stack_leaf(owner: str, modules: Sequence[Mapping[str, Any]]) -> nn.Module:
    """Return the stacked module of the leaves that are called ``owner`` in the models' ``modules``."""
    leaf = modules[0][owner]
    stacked: nn.Module = STACKED[type(leaf)](leaf)
    lora, _, key = owner.rpartition(".lora_B.")
    if lora:  # the leaf is a B of LoRA
        stacked.scale = leaf.weight.new_tensor([one[lora].scaling[key] for one in modules])[:, None, None]
    return stacked
