"""LoRA+ (Hayou et al., 2024): LoRA with a learning rate of its own for the matrices B."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS
from tunekit.methods.lora import LoRA

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("lora_plus")
@dataclass(frozen=True, kw_only=True)
class LoRAPlus(LoRA):
    """LoRA of linear modules in which each B learns at ``ratio`` times the trial's learning rate.

    Biases of the head learn at that rate too, as in ``peft``'s optimizer of this name.
    """

    ratio: float = 16.0

    display_name: ClassVar[str] = "LoRA+"
    learning_rate: ClassVar[float] = 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio < 1:
            raise ValueError(f"ratio must be 1 or more, got {self.ratio}")

    @staticmethod
    def suggest(trial) -> dict:
        """Search LoRA's hyperparameters, and the ratio from 1 to 64."""
        return {**LoRA.suggest(trial), "ratio": 2.0 ** trial.suggest_int("log2_ratio", 0, 6)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Replace the target modules. Raises ValueError where a target is no linear module."""
        from tunekit.methods._linear_targets import linear_targets

        linear_targets(model, self.target_modules.split(","))
        super().prepare(model)

    def rate_factor(self, name: str) -> float:
        """Return the factor of the learning rate of the trained parameter ``name``."""
        return self.ratio if ".lora_B." in name or name.endswith(".bias") else 1.0
