"""DoRA (Liu et al., 2024), from the ``peft`` library."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze
from tunekit.methods.lora import LoRA

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("dora")
@dataclass(frozen=True, kw_only=True)
class DoRA(LoRA):
    """LoRA of a weight's direction. The weight's magnitude, one number for each output, is trained beside it."""

    display_name: ClassVar[str] = "DoRA"
    single: ClassVar[str] = "its magnitudes are no modules that can be stacked"

    def prepare(self, model: "PreTrainedModel") -> None:
        """Replace the target modules. Raises ValueError, from ``peft``, where no module has such a name."""
        from peft import LoraConfig, inject_adapter_in_model

        freeze(model)
        targets = self.target_modules.split(",")
        inject_adapter_in_model(
            LoraConfig(
                r=self.r, lora_alpha=self.lora_alpha, lora_dropout=self.lora_dropout, target_modules=targets,
                use_dora=True,
            ),
            model,
        )  # fmt: skip
