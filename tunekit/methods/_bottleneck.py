"""Bottleneck adapters (Houlsby et al., 2019; Pfeiffer et al., 2020) in plain PyTorch, equal to ``adapters`` 1.3.0.

Equal are outputs, gradients, numbers of parameters and, drawn from one seed, initial weights. Checkpoints go both ways
by ``to_adapters`` and ``from_adapters``. Used by methods ``adapter`` and ``pfeiffer``; this module brings torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from tunekit.models.families import FAMILIES

STD = 0.02
"""Standard deviation of initial weights, as BERT's own; biases begin at 0."""
NAME = "tunekit"
"""What an adapter is called in ``adapters``, which can hold many."""
LIBRARY_VERSION = "adapters.1.3.0"
"""The release whose formats are written."""
LIBRARY_CONFIG: Mapping[str, Any] = MappingProxyType(
    {
        "output_adapter": True, "original_ln_after": True, "ln_before": False, "ln_after": False, "is_parallel": False,
        "residual_before_ln": True, "adapter_residual_before_ln": False, "init_weights": "bert",
        "init_weights_seed": None, "scaling": 1.0, "use_gating": False, "inv_adapter": None,
        "inv_adapter_reduction_factor": None, "cross_adapter": False, "leave_out": [], "dropout": 0.0,
        "stochastic_depth": 0.0, "phm_layer": False, "phm_dim": 4, "factorized_phm_W": True, "shared_W_phm": False,
        "shared_phm_rule": True, "factorized_phm_rule": False, "phm_c_init": "normal", "phm_init_range": 0.0001,
        "learn_phm": True, "hypercomplex_nonlinearity": "glorot-uniform", "phm_rank": 1, "phm_bias": True,
    }
)  # fmt: skip
"""What ``adapters`` calls a plain bottleneck, of either design."""


@dataclass(frozen=True)
class Design:
    """Where bottlenecks sit in an encoder layer, and what they compute."""

    activation: Callable[[torch.Tensor], torch.Tensor]
    after_attention: bool
    """One after attention too, or after the feed-forward part alone."""
    norm_first: bool
    """The bottleneck reads the layer norm of the residual sum, or the sublayer's output as it is."""

    def library_config(self, reduction_factor: int) -> dict[str, Any]:
        """The configuration that ``adapters`` saves with such an adapter."""
        return LIBRARY_CONFIG | {
            "mh_adapter": self.after_attention,
            "original_ln_before": self.norm_first,
            "non_linearity": "relu" if self.activation is F.relu else "swish",
            "reduction_factor": reduction_factor,
        }


HOULSBY = Design(F.silu, after_attention=True, norm_first=False)
PFEIFFER = Design(F.relu, after_attention=False, norm_first=True)


class Bottleneck(nn.Module):
    """Down to ``width``, activation, up again: what an adapter adds to hidden states (..., hidden_size)."""

    def __init__(self, hidden_size: int, width: int, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden_size, width), nn.Linear(width, hidden_size)
        for leaf in (self.down, self.up):
            nn.init.normal_(leaf.weight, std=STD)
            nn.init.zeros_(leaf.bias)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden_size) to the same."""
        return self.up(self.activation(self.down(x)))


class AdaptedOutput(nn.Module):
    """BERT's output module of a sublayer, with its own parts and a bottleneck before the residual sum."""

    def __init__(self, library: nn.Module, adapter: Bottleneck, *, norm_first: bool) -> None:
        super().__init__()
        self.dense, self.dropout, self.LayerNorm = library.dense, library.dropout, library.LayerNorm
        self.adapter, self.norm_first = adapter, norm_first

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        """The sublayer's inner states (..., n) and its input (..., H), the residual, to its output (..., H)."""
        hidden = self.dropout(self.dense(hidden_states))
        x = self.LayerNorm(hidden + input_tensor) if self.norm_first else hidden
        return self.LayerNorm(self.adapter(x) + hidden + input_tensor)


class AdaptedLinear(nn.Linear):
    """The linear module that ends DistilBERT's attention, with its own parameters and a bottleneck behind it."""

    def __init__(self, library: nn.Linear, adapter: Bottleneck) -> None:
        super().__init__(library.in_features, library.out_features, device="meta")
        self.weight, self.bias = library.weight, library.bias
        self.adapter = adapter

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Context (..., H) to attention's output (..., H), before the residual sum."""
        hidden = super().forward(input)
        return self.adapter(hidden) + hidden


class AdaptedFFN(nn.Module):
    """DistilBERT's feed-forward part, with its own parts and a bottleneck before the residual sum."""

    def __init__(self, library: nn.Module, adapter: Bottleneck, norm: nn.Module, *, norm_first: bool) -> None:
        super().__init__()
        self.dropout, self.lin1, self.lin2 = library.dropout, library.lin1, library.lin2
        self.activation, self.adapter, self.norm_first = library.activation, adapter, norm_first
        self.norm = (norm,)  # in a tuple, for it is a module of the layer and not of this one

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The layer's states after attention (..., H), also the residual, to what is added to them (..., H)."""
        hidden = self.dropout(self.lin2(self.activation(self.lin1(input))))
        x = self.norm[0](hidden + input) if self.norm_first else hidden
        return self.adapter(x) + hidden


def add_bottlenecks(model: PreTrainedModel, reduction_factor: int, design: Design) -> None:
    """Put bottlenecks of width hidden size // ``reduction_factor`` into each encoder layer of ``model``, in place.

    ``model.tunekit_bottlenecks`` is then their design and reduction factor. New weights come from torch's global
    generator. Raises ValueError where a bottleneck would be narrower than 1, and for a model type that has no place
    for one.
    """
    hidden_size = model.config.hidden_size
    if hidden_size < reduction_factor:
        raise ValueError(f"reduction_factor {reduction_factor} exceeds hidden size {hidden_size}")
    adapt = _ADAPT.get(model.config.model_type)
    if adapt is None:
        raise ValueError(f"bottlenecks are not supported in model type {model.config.model_type!r}")
    layers = model.get_submodule(FAMILIES[model.config.model_type].layers)
    _draw_as_adapters(layers)
    for layer in layers:
        adapt(layer, design, lambda: Bottleneck(hidden_size, hidden_size // reduction_factor, design.activation))
    model.tunekit_bottlenecks = design, reduction_factor


def _adapt_bert(layer: nn.Module, design: Design, make: Callable[[], Bottleneck]) -> None:
    for owner in (layer.attention, layer) if design.after_attention else (layer,):
        owner.output = AdaptedOutput(owner.output, make(), norm_first=design.norm_first).train(owner.training)


def _adapt_distilbert(layer: nn.Module, design: Design, make: Callable[[], Bottleneck]) -> None:
    if design.after_attention:
        layer.attention.out_lin = AdaptedLinear(layer.attention.out_lin, make())
    ffn = AdaptedFFN(layer.ffn, make(), layer.output_layer_norm, norm_first=design.norm_first)
    layer.ffn = ffn.train(layer.training)


_ADAPT = {
    "bert": _adapt_bert,
    "roberta": _adapt_bert,
    "electra": _adapt_bert,
    "deberta-v2": _adapt_bert,
    "distilbert": _adapt_distilbert,
}


def _draw_as_adapters(layers: nn.ModuleList) -> None:
    """Draw from the generator what ``adapters`` draws in vain before its first bottleneck.

    It builds anew, twice and with random weights that it then replaces, all linear modules of a layer but attention's
    output. Drawing as many numbers gives the bottlenecks of one seed the same weights there and here.
    """
    for layer in (*layers, *layers):
        for name, module in layer.named_modules():
            if type(module) is nn.Linear and name not in ("attention.output.dense", "attention.out_lin"):
                for parameter in module.parameters():
                    torch.empty_like(parameter, device="cpu").uniform_()


_PLACES = {
    ".output.adapter.": ".output.adapters.{}.",
    ".attention.out_lin.adapter.": ".attention_adapters.adapters.{}.",
    ".ffn.adapter.": ".output_adapters.adapters.{}.",
}
"""Where a bottleneck's tensors are here and in ``adapters``, whose adapter's name is to be filled in."""
_PARTS = {"down.": "adapter_down.0.", "up.": "adapter_up."}


def _renamed(key: str, places: Mapping[str, str], parts: Mapping[str, str]) -> str | None:
    """``key`` with its place and part replaced; None where it is no bottleneck's."""
    for (place, other), (part, renamed) in product(places.items(), parts.items()):
        owner, found, leaf = key.partition(place + part)
        if found and leaf in ("weight", "bias"):
            return owner + other + renamed + leaf
    return None


def to_adapters(state: Mapping[str, torch.Tensor], name: str = NAME) -> dict[str, torch.Tensor]:
    """A state dict of a model with bottlenecks, or a part of one, under the names that ``adapters`` gives its tensors.

    ``name`` is the adapter's there. Tensors that are none of a bottleneck keep their names; none is copied.
    """
    places = {ours: theirs.format(name) for ours, theirs in _PLACES.items()}
    return {_renamed(key, places, _PARTS) or key: tensor for key, tensor in state.items()}


def from_adapters(state: Mapping[str, torch.Tensor], name: str = NAME) -> dict[str, torch.Tensor]:
    """The way back from ``to_adapters``: a state dict, or the file of an adapter saved by ``adapters``, for our model.

    Raises ValueError where it holds no bottleneck of the adapter ``name``.
    """
    places = {theirs.format(name): ours for ours, theirs in _PLACES.items()}
    parts = {theirs: ours for ours, theirs in _PARTS.items()}
    renamed = {key: _renamed(key, places, parts) for key in state}
    if not any(renamed.values()):
        raise ValueError(f"the state holds no bottleneck of an adapter called {name!r}")
    return {renamed[key] or key: tensor for key, tensor in state.items()}
