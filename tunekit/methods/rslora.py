"""Rank-stabilised LoRA (Kalajdzievski, 2023), from the ``peft`` library."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze
from tunekit.methods.lora import LoRA

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("rslora")
@dataclass(frozen=True, kw_only=True)
class RsLoRA(LoRA):
    """Low-rank updates ``(lora_alpha / sqrt(r)) B A``, whose size does not shrink as the rank grows."""

    display_name: ClassVar[str] = "rsLoRA"

    def prepare(self, model: "PreTrainedModel") -> None:
        """Replace the target modules. Raises ValueError, from ``peft``, where no module has such a name."""
        from peft import LoraConfig, inject_adapter_in_model

        freeze(model)
        targets = self.target_modules.split(",")
        inject_adapter_in_model(
            LoraConfig(
                r=self.r, lora_alpha=self.lora_alpha, lora_dropout=self.lora_dropout, target_modules=targets,
                use_rslora=True,
            ),
            model,
        )  # fmt: skip
