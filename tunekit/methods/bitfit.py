"""BitFit (Ben Zaken et al., 2022): the biases alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("bitfit")
@dataclass(frozen=True, kw_only=True)
class BitFit:
    """Train every bias of the encoder, including those of layer norms, and no weight."""

    display_name: ClassVar[str] = "BitFit"
    learning_rate: ClassVar[float] = 1e-3

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate."""
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Freeze all but the biases."""
        freeze(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name.endswith(".bias")
