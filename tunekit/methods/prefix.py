"""Prefix tuning (Li & Liang, 2021), in every layer and without reparameterisation, as Liu et al. (2022) do."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.methods.base import METHODS, freeze
from tunekit.models.families import FAMILIES

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


@METHODS.register("prefix")
@dataclass(frozen=True, kw_only=True)
class Prefix:
    """``length`` learned keys and values in each layer, which every sequence attends to. Positions do not change."""

    length: int = 20

    display_name: ClassVar[str] = "Prefix tuning"
    learning_rate: ClassVar[float] = 5e-3
    padded: ClassVar[str] = "a prefix belongs to no token"

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be 1 or more, got {self.length}")

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate and the length from 1 to 64."""
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 5e-2, log=True),
            "length": trial.suggest_int("length", 1, 64, log=True),
        }

    def prepare(self, model: "PreTrainedModel") -> None:
        """Put the rows in front of keys and values. Raises ValueError where every key must have a position or token."""
        import torch
        import transformers

        naming = FAMILIES[model.config.model_type]
        if naming.needed.get("relative_attention"):
            raise ValueError("its attention is by relative positions, and a prefix has none")
        if int(transformers.__version__.partition(".")[0]) >= 5:
            raise ValueError("in transformers 5 there are as many keys as tokens; it needs transformers 4")
        freeze(model)
        for layer in model.get_submodule(naming.layers):
            for name in ("attention.self.key", "attention.self.value"):
                linear = layer.get_submodule(naming.module(name))
                # From a normal distribution of deviation 1, as peft's PrefixEncoder.
                linear.prefix = torch.nn.Parameter(torch.randn(self.length, linear.out_features))
                linear.register_forward_hook(_put_before)
        backbone, _, _ = naming.layers.partition(".")
        model.get_submodule(backbone).register_forward_pre_hook(partial(_widen, self.length), with_kwargs=True)


def _put_before(linear: "nn.Module", inputs: tuple[Any, ...], rows: "torch.Tensor") -> "torch.Tensor":
    """Return keys or values (B, L, H) behind the prefix of ``linear``, as (B, length + L, H)."""
    import torch

    return torch.cat([linear.prefix.to(rows.dtype).expand(len(rows), -1, -1), rows], 1)


def _widen(length: int, module: "nn.Module", inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """Return the inputs of ``module`` with the attention mask (B, L) widened for the prefix to (B, length + L)."""
    from torch.nn.functional import pad

    return inputs, {**named, "attention_mask": pad(named["attention_mask"], (length, 0), value=1)}
