"""Compacter (Karimi Mahabadi et al., 2021), from the library ``adapters``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.adapter import Adapter
from tunekit.methods.base import METHODS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("compacter")
@dataclass(frozen=True, kw_only=True)
class Compacter(Adapter):
    """Bottlenecks as Houlsby's, whose weights are sums of ``phm_dim`` Kronecker products with matrices of rank 1.

    The small factors of the products, (phm_dim, phm_dim, phm_dim), are the same in all layers.
    """

    reduction_factor: int = 32
    phm_dim: int = 4

    display_name: ClassVar[str] = "Compacter"
    learning_rate: ClassVar[float] = 1e-3
    padded: ClassVar[str] = "its modules are those of the library adapters"
    single: ClassVar[str] = "its factors are no modules that can be stacked"
    layouts: ClassVar[tuple[str, ...]] = ("bert", "distilbert")
    """The layouts of an encoder layer (``Family.bottlenecks``) that it fits."""
    package: ClassVar[str] = "adapters"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.phm_dim < 1:
            raise ValueError(f"phm_dim must be 1 or more, got {self.phm_dim}")

    def prepare(self, model: "PreTrainedModel") -> None:
        """Insert the bottlenecks.

        Raises ValueError where ``phm_dim`` does not divide the hidden size and the bottleneck's width, where the model
        does not support bottlenecks, and where the library is missing.
        """
        from tunekit.methods._adapters_library import add_adapter

        hidden_size = model.config.hidden_size
        width = hidden_size // self.reduction_factor
        if width < 1 or hidden_size % self.phm_dim or width % self.phm_dim:
            raise ValueError(f"phm_dim {self.phm_dim} does not divide hidden size {hidden_size} and width {width}")
        settings = {"reduction_factor": self.reduction_factor, "phm_dim": self.phm_dim}
        add_adapter(model, lambda adapters: adapters.CompacterConfig(**settings))
