"""Linear probe: the head alone, on the frozen encoder's features."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("head")
@dataclass(frozen=True, kw_only=True)
class Head:
    """Train nothing of the encoder."""

    display_name: ClassVar[str] = "Head only"
    learning_rate: ClassVar[float] = 1e-3

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate."""
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Freeze all parameters; the engine trains the head."""
        freeze(model)
