"""Houlsby adapter (Houlsby et al., 2019)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("adapter")
@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Two bottlenecks a layer, after attention and feed-forward, of width hidden size / reduction factor."""

    reduction_factor: int = 16

    display_name: ClassVar[str] = "Adapter"
    learning_rate: ClassVar[float] = 5e-4

    def __post_init__(self) -> None:
        if self.reduction_factor < 1:
            raise ValueError(f"reduction_factor must be 1 or more, got {self.reduction_factor}")

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate and the bottleneck, from half the hidden size to a 64th."""
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 5e-3, log=True),
            "reduction_factor": 2 ** trial.suggest_int("log2_reduction_factor", 1, 6),
        }

    def prepare(self, model: "PreTrainedModel") -> None:
        """Insert the bottlenecks. Raises ValueError where they would be narrower than 1, or are not supported."""
        from tunekit.methods._bottleneck import HOULSBY, add_bottlenecks

        freeze(model)
        add_bottlenecks(model, self.reduction_factor, HOULSBY)
