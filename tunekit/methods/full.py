"""Full fine-tuning."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("full")
@dataclass(frozen=True, kw_only=True)
class Full:
    """Train every parameter."""

    display_name: ClassVar[str] = "Full fine-tuning"
    learning_rate: ClassVar[float] = 5e-5

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate."""
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 5e-3, log=True)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Leave the model as it is: nothing is frozen."""
