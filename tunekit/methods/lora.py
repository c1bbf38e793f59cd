"""LoRA (Hu et al., 2022), from the ``peft`` library."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("lora")
@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank updates ``(lora_alpha / r) B A`` of weights. Commas separate the names in ``target_modules``."""

    r: int = 32
    lora_alpha: int = 8
    lora_dropout: float = 0.0
    target_modules: str = "query,value"

    display_name: ClassVar[str] = "LoRA"
    learning_rate: ClassVar[float] = 5e-4

    def __post_init__(self) -> None:
        if self.r < 1 or self.lora_alpha < 1 or not 0 <= self.lora_dropout < 1:
            raise ValueError("r and lora_alpha must be 1 or more and lora_dropout in [0, 1)")
        if not all(name.strip() for name in self.target_modules.split(",")):
            raise ValueError(f"target_modules must be names separated by commas, got {self.target_modules!r}")

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate, the rank from 1 to 128, and ``lora_alpha``: 8 as in the study, r or 2 r."""
        r = 2 ** trial.suggest_int("log2_r", 0, 7)
        alpha = trial.suggest_categorical("lora_alpha", (8, "r", "2r"))
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 5e-3, log=True),
            "r": r,
            "lora_alpha": {"r": r, "2r": 2 * r}.get(alpha, alpha),
        }

    def prepare(self, model: "PreTrainedModel") -> None:
        """Replace the target modules. Raises ValueError, from ``peft``, where no module has such a name."""
        from peft import LoraConfig, inject_adapter_in_model

        freeze(model)
        targets = [name.strip() for name in self.target_modules.split(",")]
        config = LoraConfig(
            r=self.r, lora_alpha=self.lora_alpha, lora_dropout=self.lora_dropout, target_modules=targets
        )
        inject_adapter_in_model(config, model)
