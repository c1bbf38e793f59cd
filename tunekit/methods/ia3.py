"""(IA)^3 (Liu et al., 2022), from the ``peft`` library."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS, freeze
from tunekit.models.families import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("ia3")
@dataclass(frozen=True, kw_only=True)
class IA3:
    """A learned scale of each layer's keys, values and inner activations of its feed-forward part."""

    display_name: ClassVar[str] = "(IA)³"
    learning_rate: ClassVar[float] = 5e-3
    single: ClassVar[str] = "its scales are no modules that can be stacked"

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate."""
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 5e-2, log=True)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Put the scales, all 1, into every layer."""
        from peft import IA3Config, inject_adapter_in_model

        freeze(model)
        naming = FAMILIES[model.config.model_type]
        key, value, inner = map(naming.module, ("attention.self.key", "attention.self.value", "output.dense"))
        # peft's own targets would take the attention's output.dense too, which the paper does not scale.
        layer = rf"{naming.layers}\.\d+"
        config = IA3Config(
            target_modules=rf"{layer}\.({key}|{value}|{inner})", feedforward_modules=rf"{layer}\.{inner}"
        )
        inject_adapter_in_model(config, model)
