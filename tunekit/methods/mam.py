"""Mix-and-Match adapters (He et al., 2022), from the library ``adapters``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.base import METHODS
from tunekit.methods.parallel import Parallel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("mam")
@dataclass(frozen=True, kw_only=True)
class MixAndMatch(Parallel):
    """Parallel adapters, and a prefix of ``prefix_length`` keys and values a layer.

    The prefixes of all layers are made by one network with a hidden layer of ``bottleneck_size``.
    """

    prefix_length: int = 30
    bottleneck_size: int = 800

    display_name: ClassVar[str] = "Mix-and-Match"
    padded: ClassVar[str] = "its modules are those of the library adapters"
    package: ClassVar[str] = "adapters"
    refused: ClassVar[dict[str, str]] = {
        "distilbert": "in it the library adapters adds 1 to a prefix's scores where a batch has padding"
    }
    """The reason why the method does not fit a model type, by type."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prefix_length < 1 or self.bottleneck_size < 1:
            raise ValueError("prefix_length and bottleneck_size must be 1 or more")

    @staticmethod
    def suggest(trial) -> dict:
        """Search the hyperparameters of parallel adapters, and the length of the prefix from 1 to 64."""
        return {**Parallel.suggest(trial), "prefix_length": trial.suggest_int("prefix_length", 1, 64, log=True)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Insert bottlenecks and prefixes.

        Raises ValueError where the bottlenecks would be narrower than 1, where the model does not support them or its
        type is in ``refused``, and where the library is missing.
        """
        from tunekit.methods._adapters_library import add_adapter

        hidden_size, kind = model.config.hidden_size, model.config.model_type
        if kind in self.refused:
            raise ValueError(self.refused[kind])
        if hidden_size < self.reduction_factor:
            raise ValueError(f"reduction_factor {self.reduction_factor} exceeds hidden size {hidden_size}")
        prefix = {"prefix_length": self.prefix_length, "bottleneck_size": self.bottleneck_size}
        bottlenecks = {"reduction_factor": self.reduction_factor, "scaling": self.scaling}
        add_adapter(
            model,
            lambda adapters: adapters.MAMConfig(
                adapters.PrefixTuningConfig(**prefix), adapters.ParBnConfig(**bottlenecks)
            ),
        )
