"""Bottleneck adapters (Houlsby et al., 2019; Pfeiffer et al., 2020) in plain PyTorch, equal to ``adapters`` 1.3.0.

Equal are outputs, gradients, numbers of parameters and, drawn from one seed, initial weights. Checkpoints go both ways
by ``to_adapters`` and ``from_adapters``. Used by methods ``adapter`` and ``pfeiffer``; this module brings torch.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

STD = 0.02
"""Standard deviation of initial weights, as BERT's own; biases begin at 0."""
NAME = "tunekit"
"""What an adapter is called in ``adapters``, which can hold many."""


@dataclass(frozen=True)
class Design:
    """Where bottlenecks sit in an encoder layer, and what they compute."""

    adapters_config: str
    """The same in ``adapters``: a name that its ``add_adapter`` takes as ``config``."""
    activation: Callable[[torch.Tensor], torch.Tensor]
    after_attention: bool
    """One after attention too, or after the feed-forward part alone."""
    norm_first: bool
    """The bottleneck reads the layer norm of the residual sum, or the sublayer's output as it is."""


HOULSBY = Design("double_seq_bn", F.silu, after_attention=True, norm_first=False)
PFEIFFER = Design("seq_bn", F.relu, after_attention=False, norm_first=True)


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
    """A sublayer's output module, with its own parts and a bottleneck before the residual sum."""

    def __init__(self, library: nn.Module, adapter: Bottleneck, *, norm_first: bool) -> None:
        super().__init__()
        self.dense, self.dropout, self.LayerNorm = library.dense, library.dropout, library.LayerNorm
        self.adapter, self.norm_first = adapter, norm_first

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        """The sublayer's inner states (..., n) and its input (..., H), the residual, to its output (..., H)."""
        hidden = self.dropout(self.dense(hidden_states))
        x = self.LayerNorm(hidden + input_tensor) if self.norm_first else hidden
        return self.LayerNorm(self.adapter(x) + hidden + input_tensor)


def add_bottlenecks(model: PreTrainedModel, reduction_factor: int, design: Design) -> None:
    """Put bottlenecks of width hidden size // ``reduction_factor`` into each encoder layer of ``model``, in place.

    ``model.tunekit_bottlenecks`` is then their design and reduction factor. New weights come from torch's global
    generator. Raises ValueError where a bottleneck would be narrower than 1, and where the model's layers are not of
    BERT's kind.
    """
    hidden_size = model.config.hidden_size
    if hidden_size < reduction_factor:
        raise ValueError(f"reduction_factor {reduction_factor} exceeds hidden size {hidden_size}")
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", ())
    owners = [owner for layer in layers for owner in ((layer.attention, layer) if design.after_attention else (layer,))]
    parts = ("dense", "dropout", "LayerNorm")
    if not owners or not all(hasattr(owner.output, part) for owner in owners for part in parts):
        raise ValueError(f"bottlenecks are not supported in model type {model.config.model_type!r}")
    _draw_as_adapters(layers)
    for owner in owners:
        bottleneck = Bottleneck(hidden_size, hidden_size // reduction_factor, design.activation)
        adapted = AdaptedOutput(owner.output, bottleneck, norm_first=design.norm_first)
        owner.output = adapted.train(owner.training)
    model.tunekit_bottlenecks = design, reduction_factor


def _draw_as_adapters(layers: nn.ModuleList) -> None:
    """Draw from the generator what ``adapters`` draws in vain before its first bottleneck.

    It builds anew, twice and with random weights that it then replaces, all linear modules of a layer but attention's
    output. Drawing as many numbers gives the bottlenecks of one seed the same weights there and here.
    """
    for layer in (*layers, *layers):
        for name, module in layer.named_modules():
            if type(module) is nn.Linear and name != "attention.output.dense":
                for parameter in module.parameters():
                    torch.empty_like(parameter, device="cpu").uniform_()


_OURS = re.compile(r"\.output\.adapter\.(down|up)\.(weight|bias)$")
_THEIRS = {"down": "adapter_down.0", "up": "adapter_up"}


def to_adapters(state: Mapping[str, torch.Tensor], name: str = NAME) -> dict[str, torch.Tensor]:
    """A state dict of a model with bottlenecks, or a part of one, under the names that ``adapters`` gives its tensors.

    ``name`` is the adapter's there. Tensors that are none of a bottleneck keep their names; none is copied.
    """
    return {
        _OURS.sub(lambda found: f".output.adapters.{name}.{_THEIRS[found[1]]}.{found[2]}", key): tensor
        for key, tensor in state.items()
    }


def from_adapters(state: Mapping[str, torch.Tensor], name: str = NAME) -> dict[str, torch.Tensor]:
    """The way back from ``to_adapters``: a state dict, or the file of an adapter saved by ``adapters``, for our model.

    Raises ValueError where it holds no bottleneck of the adapter ``name``.
    """
    theirs = re.compile(rf"\.output\.adapters\.{re.escape(name)}\.adapter_(down\.0|up)\.(weight|bias)$")
    if not any(theirs.search(key) for key in state):
        raise ValueError(f"the state holds no bottleneck of an adapter called {name!r}")
    return {
        theirs.sub(lambda found: f".output.adapter.{found[1].partition('.')[0]}.{found[2]}", key): tensor
        for key, tensor in state.items()
    }
