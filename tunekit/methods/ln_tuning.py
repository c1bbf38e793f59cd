"""LN tuning (Zhao et al., 2024): the layer norms alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("ln_tuning")
@dataclass(frozen=True, kw_only=True)
class LNTuning:
    """Train the weight and the bias of every layer norm, including that of the embeddings."""

    display_name: ClassVar[str] = "LN tuning"
    learning_rate: ClassVar[float] = 1e-3

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate."""
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Freeze all but the layer norms."""
        from torch import nn

        freeze(model)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(True)
