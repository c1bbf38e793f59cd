"""k models of one structure as one: trainable leaves get a leading trial axis, frozen weights stay shared.

After HFTA (Wang et al., 2021), with ranks and bottlenecks that may differ: smaller weights are padded with zeros, which
AdamW leaves at exactly 0. While stacked, the parameters of each model are views of the stack's, so that a model can be
saved, scored or taken out at any time.
"""

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from tunekit.engine.forward.flat_batch import aligned

# Weights and gradients have the same strides, a row a trial; torch would like gradients without gaps.
warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")

LEAVES = (nn.Linear, nn.LayerNorm, nn.Embedding)
"""Modules whose trainable parameters can be stacked."""


def is_stackable(model: nn.Module) -> bool:
    """Whether every trainable parameter of ``model`` belongs to a leaf that can be stacked."""
    return all(
        type(module) in LEAVES
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.requires_grad
    )


class _Stacked(nn.Module):
    """A leaf whose ``weight`` and ``bias`` have a leading trial axis where they are trained, else are shared."""

    def __init__(self, leaf: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = leaf.weight, getattr(leaf, "bias", None)

    def by_trial(self, x: torch.Tensor, num_trials: int) -> torch.Tensor:
        """``x`` (..., n), trial by trial, as (K, rows, n)."""
        return x.reshape(num_trials, -1, x.shape[-1])


class StackedLinear(_Stacked):
    """K linear modules (K, out, in)."""

    scale: torch.Tensor | None = None
    """(K, 1, 1), what each one's output is multiplied by, as LoRA's scaling does; None: nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        weight, bias = self.weight, self.bias
        if weight.dim() == 2:
            y = F.linear(x, weight)
            return (self.by_trial(y, len(bias)) + bias[:, None, :]).view_as(y)
        rows = self.by_trial(x, len(weight))
        weight = weight if self.scale is None else weight * self.scale
        if bias is None:
            y = torch.bmm(rows, weight.transpose(1, 2))
        else:
            y = torch.baddbmm(bias[:, None, :] if bias.dim() == 2 else bias, rows, weight.transpose(1, 2))
        return y.view(*x.shape[:-1], y.shape[-1])


class StackedLayerNorm(_Stacked):
    """K layer norms (K, H)."""

    def __init__(self, leaf: nn.LayerNorm) -> None:
        super().__init__(leaf)
        self.shape, self.eps = leaf.normalized_shape, leaf.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., H) to (..., H)."""
        weight, bias = self.weight, self.bias
        num_trials = next(len(p) for p in (weight, bias) if p.dim() == 2)
        rows = self.by_trial(F.layer_norm(x, self.shape, eps=self.eps), num_trials)
        weight, bias = (p[:, None, :] if p.dim() == 2 else p for p in (weight, bias))
        return torch.addcmul(bias, rows, weight).view_as(x)


class StackedEmbedding(_Stacked):
    """K embeddings (K, V, H)."""

    def __init__(self, leaf: nn.Embedding) -> None:
        super().__init__(leaf)
        self.padding_idx = leaf.padding_idx

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(K, T) ids to (K, T, H)."""
        pairs = zip(ids, self.weight, strict=True)
        return torch.stack([F.embedding(row, weight, self.padding_idx) for row, weight in pairs])


STACKED = {nn.Linear: StackedLinear, nn.LayerNorm: StackedLayerNorm, nn.Embedding: StackedEmbedding}


@dataclass(frozen=True)
class Piece:
    """One trainable parameter of each model, and the columns of the flat tensor that hold them."""

    name: str
    columns: slice
    shape: tuple[int, ...]
    """Largest over the models."""
    parameters: tuple[nn.Parameter, ...]
    """One a model, each of its own size."""

    def views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Each model's part of ``flat`` (K, P), in the size of its parameter."""
        whole = flat[:, self.columns].unflatten(1, self.shape)
        return [
            whole[trial][tuple(slice(size) for size in parameter.shape)]
            for trial, parameter in enumerate(self.parameters)
        ]


class Stack:
    """K models of one structure, run as one. ``model`` takes what ``flow.logits`` takes."""

    def __init__(self, models: Sequence[PreTrainedModel]) -> None:
        """Raises ValueError where the models differ in more than the sizes of trainable weights."""
        named = [{n: p for n, p in model.named_parameters() if p.requires_grad} for model in models]
        if any(set(names) != set(named[0]) for names in named):
            raise ValueError("the models of a pack have different trainable parameters")
        self.pieces, end = [], 0
        for name in named[0]:
            parameters = tuple(names[name] for names in named)
            shape = tuple(max(sizes) for sizes in zip(*(p.shape for p in parameters), strict=True))
            size = torch.Size(shape).numel()
            self.pieces.append(Piece(name, slice(end, end + size), shape, parameters))
            end += aligned(size)
        first = self.pieces[0].parameters[0]
        self.weights = first.new_zeros((len(models), end))
        self.gradients = torch.zeros_like(self.weights)
        with torch.no_grad():
            for piece in self.pieces:
                for view, parameter in zip(piece.views(self.weights), piece.parameters, strict=True):
                    view.copy_(parameter)
                    parameter.data = view
        _share_frozen(models)
        self.model = self._stacked(models)

    def _stacked(self, models: Sequence[PreTrainedModel]) -> PreTrainedModel:
        """The first model's structure with stacked leaves; no weight is copied."""
        memo = {id(p): p for p in models[0].parameters()} | {id(b): b for b in models[0].buffers()}
        model = copy.deepcopy(models[0], memo)
        modules = [dict(one.named_modules()) for one in models]
        stacked = {}
        for piece in self.pieces:
            parameter = nn.Parameter(self.weights[:, piece.columns].unflatten(1, piece.shape))
            parameter.grad = self.gradients[:, piece.columns].unflatten(1, piece.shape)
            owner, _, leaf_name = piece.name.rpartition(".")
            if owner not in stacked:
                stacked[owner] = _stack_leaf(owner, modules)
            setattr(stacked[owner], leaf_name, parameter)
        for owner, leaf in stacked.items():
            parent, _, name = owner.rpartition(".")
            setattr(model.get_submodule(parent), name, leaf)
        for module in model.modules():
            # Each LoRA's own scaling, alpha / r, is in its stacked B.
            if isinstance(getattr(module, "lora_B", None), nn.ModuleDict):
                module.scaling = dict.fromkeys(module.scaling, 1.0)
        return model

    def release(self) -> None:
        """Give each model tensors of its own again."""
        for piece in self.pieces:
            for parameter in piece.parameters:
                parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def _share_frozen(models: Sequence[PreTrainedModel]) -> None:
    """One copy of the weights that no model trains, for all of them."""
    frozen = {name: weight for name, weight in models[0].named_parameters() if not weight.requires_grad}
    for model in models[1:]:
        for name, weight in model.named_parameters():
            if name in frozen:
                weight.data = frozen[name].data


def _stack_leaf(owner: str, modules: Sequence[dict[str, nn.Module]]) -> nn.Module:
    leaf = modules[0][owner]
    stacked = STACKED[type(leaf)](leaf)
    lora, _, key = owner.rpartition(".lora_B.")
    if lora:
        stacked.scale = leaf.weight.new_tensor([one[lora].scaling[key] for one in modules])[:, None, None]
    return stacked
