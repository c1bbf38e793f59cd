"""Bottleneck adapters in plain PyTorch, equal to those of the library ``adapters``.

They are those of Houlsby et al. (2019), Pfeiffer et al. (2020) and He et al. (2022). They equal the library's release
1.3.0 in outputs, gradients, numbers of parameters and, drawn from one seed, initial weights. ``to_adapters`` and
``from_adapters`` translate checkpoints either way. The methods ``adapter``, ``pfeiffer`` and ``parallel`` use this
module, which imports torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from tunekit.models.families import FAMILIES

STD = 0.02
"""The standard deviation of initial weights, as in BERT; biases begin at 0."""
NAME = "tunekit"
"""The name that our adapter gets in ``adapters``, where a model can hold several."""
PARALLEL_LAYOUTS = ("bert", "distilbert")
"""The layouts (``Family.bottlenecks``) in which parallel adapters equal the library's, and the library's own run."""
LIBRARY_VERSION = "adapters.1.3.0"
"""The release whose formats are written."""
LIBRARY_CONFIG: Mapping[str, Any] = MappingProxyType(
    {
        "output_adapter": True, "original_ln_after": True, "ln_before": False, "ln_after": False,
        "residual_before_ln": True, "adapter_residual_before_ln": False, "init_weights_seed": None,
        "use_gating": False, "inv_adapter": None, "inv_adapter_reduction_factor": None, "cross_adapter": False,
        "leave_out": [], "dropout": 0.0,
        "stochastic_depth": 0.0, "phm_layer": False, "phm_dim": 4, "factorized_phm_W": True, "shared_W_phm": False,
        "shared_phm_rule": True, "factorized_phm_rule": False, "phm_c_init": "normal", "phm_init_range": 0.0001,
        "learn_phm": True, "hypercomplex_nonlinearity": "glorot-uniform", "phm_rank": 1, "phm_bias": True,
    }
)  # fmt: skip
"""The settings by which ``adapters`` builds a bottleneck like ours. The other settings depend on the ``Design``."""


@dataclass(frozen=True)
class Design:
    """The places of bottlenecks in an encoder layer, and their computation."""

    activation: Callable[[torch.Tensor], torch.Tensor]
    """The function between the bottleneck's two linear modules."""
    after_attention: bool
    """Whether there is a bottleneck after attention too, and not after the feed-forward part alone."""
    norm_first: bool
    """Whether the bottleneck reads the layer norm of the residual sum, and not the sublayer's output as it is."""
    is_parallel: bool = False
    """Whether the bottleneck reads the sublayer's input. It then adds nothing before it is trained."""
    scaling: float = 1.0
    """The factor of the bottleneck's output."""

    def library_config(self, reduction_factor: int) -> dict[str, Any]:
        """Return the configuration that ``adapters`` saves with an adapter of this design."""
        return {
            **LIBRARY_CONFIG,
            "mh_adapter": self.after_attention,
            "original_ln_before": self.norm_first,
            "is_parallel": self.is_parallel,
            "scaling": self.scaling,
            "init_weights": "mam_adapter" if self.is_parallel else "bert",
            "non_linearity": "relu" if self.activation is F.relu else "swish",
            "reduction_factor": reduction_factor,
        }


HOULSBY = Design(F.silu, after_attention=True, norm_first=False)
PFEIFFER = Design(F.relu, after_attention=False, norm_first=True)


def parallel(scaling: float) -> Design:
    """Return the design of parallel adapters, whose outputs are multiplied by ``scaling``."""
    return Design(F.relu, after_attention=False, norm_first=False, is_parallel=True, scaling=scaling)


class Bottleneck(nn.Module):
    """A linear module down to ``width``, an activation, and a linear module up again to ``hidden_size``."""

    def __init__(self, hidden_size: int, width: int, design: Design) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden_size, width), nn.Linear(width, hidden_size)
        if design.is_parallel:
            nn.init.kaiming_uniform_(self.down.weight, a=sqrt(5))
            nn.init.zeros_(self.up.weight)
        else:
            for leaf in (self.down, self.up):
                nn.init.normal_(leaf.weight, std=STD)
        for leaf in (self.down, self.up):
            nn.init.zeros_(leaf.bias)
        self.activation, self.scaling = design.activation, design.scaling

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the adapter adds to hidden states, (..., hidden_size) for ``x`` (..., hidden_size)."""
        added: torch.Tensor = self.up(self.activation(self.down(x)))
        return added if self.scaling == 1 else added * self.scaling


class AdaptedOutput(nn.Module):
    """BERT's output module of a sublayer, with the library's parts and a bottleneck before the residual sum."""

    norm_of_sum: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
    """Returns the layer norm of the sum of two tensors. An engine may set another function, which computes the same."""

    def __init__(self, library: Any, adapter: Bottleneck, design: Design) -> None:
        super().__init__()
        self.dense, self.dropout, self.LayerNorm = library.dense, library.dropout, library.LayerNorm
        self.adapter, self.design = adapter, design
        self.norm_of_sum = _norm_of_sum

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        """Return the sublayer's output (..., H).

        ``hidden_states`` (..., n) are its inner states, ``input_tensor`` (..., H) is its input, which is the residual.
        """
        hidden = self.dropout(self.dense(hidden_states))
        x = input_tensor if self.design.is_parallel else hidden
        if self.design.norm_first:
            x = self.norm_of_sum(self.LayerNorm, hidden, input_tensor)
        return self.norm_of_sum(self.LayerNorm, self.adapter(x) + hidden, input_tensor)


def _norm_of_sum(norm: nn.Module, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    normed: torch.Tensor = norm(x + residual)
    return normed


class AdaptedLinear(nn.Linear):
    """The linear module that ends attention in DistilBERT or ModernBERT, followed by a bottleneck.

    It has the library's parameters.
    """

    def __init__(self, library: nn.Linear, adapter: Bottleneck) -> None:
        super().__init__(library.in_features, library.out_features, device="meta")
        self.weight, self.bias = library.weight, library.bias
        self.adapter = adapter

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the output of attention (..., H) before the residual sum; ``input`` are the contexts (..., H)."""
        hidden = super().forward(input)
        output: torch.Tensor = self.adapter(hidden) + hidden
        return output


class AdaptedFFN(nn.Module):
    """DistilBERT's feed-forward part, with the library's parts and a bottleneck before the residual sum."""

    def __init__(self, library: Any, adapter: Bottleneck, norm: nn.Module, design: Design) -> None:
        super().__init__()
        self.dropout, self.lin1, self.lin2 = library.dropout, library.lin1, library.lin2
        self.activation, self.adapter, self.design = library.activation, adapter, design
        self.norm = (norm,)  # in a tuple, since it is the layer's module and must not become one of this module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return what the layer adds to ``input`` (..., H), its states after attention, which are also the residual."""
        hidden = self.dropout(self.lin2(self.activation(self.lin1(input))))
        x = input if self.design.is_parallel else hidden
        if self.design.norm_first:
            x = self.norm[0](hidden + input)
        output: torch.Tensor = self.adapter(x) + hidden
        return output


class AdaptedGatedMLP(nn.Module):
    """ModernBERT's feed-forward part, with the library's parts and a bottleneck behind its last linear module."""

    def __init__(self, library: Any, adapter: Bottleneck, design: Design) -> None:
        """With ``norm_first`` the bottleneck reads the sum of the part's output and its input.

        That is what ``adapters`` does here, where no norm follows the sum. The input is normalised, and is not the
        residual.
        """
        super().__init__()
        self.Wi, self.act, self.drop, self.Wo = library.Wi, library.act, library.drop, library.Wo
        self.adapter, self.design = adapter, design

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return what the layer adds to its residual (..., H), of its normalised states ``hidden_states`` (..., H)."""
        inner, gates = self.Wi(hidden_states).chunk(2, -1)
        hidden = self.Wo(self.drop(self.act(inner) * gates))
        x = hidden + hidden_states if self.design.norm_first else hidden
        output: torch.Tensor = self.adapter(x) + hidden
        return output


def add_bottlenecks(model: PreTrainedModel, reduction_factor: int, design: Design) -> None:
    """Put bottlenecks of width hidden size // ``reduction_factor`` into each encoder layer of ``model``, in place.

    Afterwards ``model.tunekit_adapter_config`` is the configuration that ``adapters`` saves with it. New weights come
    from torch's global generator. Raises ValueError where a bottleneck would be narrower than 1, and for a model type
    that does not support bottlenecks (``Family.bottlenecks``).
    """
    hidden_size = model.config.hidden_size
    if hidden_size < reduction_factor:
        raise ValueError(f"reduction_factor {reduction_factor} exceeds hidden size {hidden_size}")
    family = FAMILIES.get(model.config.model_type)
    layout = None if family is None else family.bottlenecks
    if family is None or layout is None or (design.is_parallel and layout not in PARALLEL_LAYOUTS):
        raise ValueError(f"bottlenecks are not supported in model type {model.config.model_type!r}")
    adapt = {"bert": _adapt_bert, "distilbert": _adapt_distilbert, "modernbert": _adapt_modernbert}[layout]
    layers: Any = model.get_submodule(family.layers)
    if family.bottlenecks != "modernbert":  # the library builds ModernBERT's layers only once
        _draw_as_adapters(layers)
    for layer in layers:
        adapt(layer, design, lambda: Bottleneck(hidden_size, hidden_size // reduction_factor, design))
    adapted: Any = model
    adapted.tunekit_adapter_config = design.library_config(reduction_factor)


def _adapt_bert(layer: Any, design: Design, make: Callable[[], Bottleneck]) -> None:
    for owner in (layer.attention, layer) if design.after_attention else (layer,):
        owner.output = AdaptedOutput(owner.output, make(), design).train(owner.training)


def _adapt_distilbert(layer: Any, design: Design, make: Callable[[], Bottleneck]) -> None:
    if design.after_attention:
        layer.attention.out_lin = AdaptedLinear(layer.attention.out_lin, make())
    ffn = AdaptedFFN(layer.ffn, make(), layer.output_layer_norm, design)
    layer.ffn = ffn.train(layer.training)


def _adapt_modernbert(layer: Any, design: Design, make: Callable[[], Bottleneck]) -> None:
    if design.after_attention:
        layer.attn.Wo = AdaptedLinear(layer.attn.Wo, make())
    layer.mlp = AdaptedGatedMLP(layer.mlp, make(), design).train(layer.training)


def _draw_as_adapters(layers: nn.ModuleList) -> None:
    """Draw from the generator the numbers that ``adapters`` draws, and does not use, before its first bottleneck.

    The library builds all linear modules of a layer, except attention's output, twice anew with random weights, which
    it then replaces. With as many numbers drawn here, one seed gives the bottlenecks the same weights in both.
    """
    for layer in (*layers, *layers):
        for name, module in layer.named_modules():
            if type(module) is nn.Linear and name not in ("attention.output.dense", "attention.out_lin"):
                for parameter in module.parameters():
                    torch.empty_like(parameter, device="cpu").uniform_()


_PLACES = (
    (".output.adapter.", ".output.adapters.{}.", ""),
    (".attention.out_lin.adapter.", ".attention_adapters.adapters.{}.", ".layer."),
    (".ffn.adapter.", ".output_adapters.adapters.{}.", ".layer."),
    (".attn.Wo.adapter.", ".attention_adapters.adapters.{}.", ".layers."),
    (".mlp.adapter.", ".output_adapters.adapters.{}.", ".layers."),
)
"""The parts of the names of a bottleneck's tensors after the name of its module, here and in ``adapters``.

In the latter the name of the adapter has to be filled in. The third text is a part of the module's name, which tells
equal parts in ``adapters`` apart.
"""
_PARTS = {"down.": "adapter_down.0.", "up.": "adapter_up."}
"""The names of a bottleneck's linear modules here and in ``adapters``."""


def _renamed(key: str, places: Sequence[tuple[str, str, str]], parts: Mapping[str, str]) -> str | None:
    """Return ``key`` with its place and part replaced, or None where it is no bottleneck's."""
    for (place, other, within), (part, renamed) in product(places, parts.items()):
        owner, found, leaf = key.partition(place + part)
        if found and within in owner and leaf in ("weight", "bias"):
            return owner + other + renamed + leaf
    return None


def to_adapters(state: Mapping[str, torch.Tensor], name: str = NAME) -> dict[str, torch.Tensor]:
    """Return ``state``, of a model with bottlenecks, under the names that ``adapters`` gives the tensors.

    ``name`` is the adapter's name there. Tensors of other modules keep their names, and no tensor is copied. ``state``
    may be a part of a state dict.
    """
    places = [(ours, theirs.format(name), within) for ours, theirs, within in _PLACES]
    return {_renamed(key, places, _PARTS) or key: tensor for key, tensor in state.items()}


def from_adapters(state: Mapping[str, torch.Tensor], name: str = NAME) -> dict[str, torch.Tensor]:
    """Return ``state`` under the names that our model gives the tensors: the inverse of ``to_adapters``.

    ``state`` is a state dict, or the content of an adapter's file that ``adapters`` has saved. Raises ValueError where
    it holds no bottleneck of the adapter ``name``.
    """
    places = [(theirs.format(name), ours, within) for ours, theirs, within in _PLACES]
    parts = {theirs: ours for ours, theirs in _PARTS.items()}
    renamed = {key: _renamed(key, places, parts) for key in state}
    if not any(renamed.values()):
        raise ValueError(f"the state holds no bottleneck of an adapter called {name!r}")
    return {renamed[key] or key: tensor for key, tensor in state.items()}
