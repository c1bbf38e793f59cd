"""PiSSA (Meng et al., 2024), from the ``peft`` library."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("pissa")
@dataclass(frozen=True, kw_only=True)
class PiSSA:
    """LoRA whose ``B A`` begins as the part of each weight with its ``r`` largest singular values.

    The rest of the weight is frozen, so that the model begins as it was pretrained. The decomposition is exact, without
    any random number. ``target_modules`` are linear modules, separated by commas.
    """

    r: int = 32
    target_modules: str = "query,value"

    display_name: ClassVar[str] = "PiSSA"
    learning_rate: ClassVar[float] = 2e-4
    alike_in_packs: ClassVar[tuple[str, ...]] = ("r",)  # the frozen rest of a weight depends on it

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"r must be 1 or more, got {self.r}")
        if not all(name.strip() for name in self.target_modules.split(",")):
            raise ValueError(f"target_modules must be names separated by commas, got {self.target_modules!r}")

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate and the rank from 1 to 128."""
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 5e-3, log=True),
            "r": 2 ** trial.suggest_int("log2_r", 0, 7),
        }

    def prepare(self, model: "PreTrainedModel") -> None:
        """Split the weights of the target modules.

        Raises ValueError where a target is no linear module, or has fewer than ``r`` singular values.
        """
        from peft import LoraConfig, inject_adapter_in_model

        from tunekit.methods._linear_targets import linear_targets

        freeze(model)
        targets = self.target_modules.split(",")
        for name, module in linear_targets(model, targets).items():
            if self.r > min(module.weight.shape):
                raise ValueError(f"r {self.r} exceeds the {min(module.weight.shape)} singular values of {name}")
        # With alpha = r the update is B A itself.
        config = LoraConfig(r=self.r, lora_alpha=self.r, init_lora_weights="pissa", target_modules=targets)
        inject_adapter_in_model(config, model)
