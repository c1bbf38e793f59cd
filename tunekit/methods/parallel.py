"""Parallel adapter (He et al., 2022)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.adapter import Adapter
from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("parallel")
@dataclass(frozen=True, kw_only=True)
class Parallel(Adapter):
    """One bottleneck a layer beside the feed-forward part, of width hidden size / reduction factor.

    It reads the input of the feed-forward part, and ``scaling`` times its output is added to the part's output.
    """

    reduction_factor: int = 2
    scaling: float = 4.0

    display_name: ClassVar[str] = "Parallel adapter"
    learning_rate: ClassVar[float] = 1e-4
    layouts: ClassVar[tuple[str, ...]] = ("bert", "distilbert")
    """The layouts of an encoder layer (``Family.bottlenecks``) that it fits."""
    alike_in_packs: ClassVar[tuple[str, ...]] = ("scaling",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scaling <= 0:
            raise ValueError(f"scaling must be above 0, got {self.scaling}")

    @staticmethod
    def suggest(trial) -> dict:
        """Search the learning rate, the bottleneck, and the scaling from 1 to 8."""
        return {**Adapter.suggest(trial), "scaling": 2.0 ** trial.suggest_int("log2_scaling", 0, 3)}

    def prepare(self, model: "PreTrainedModel") -> None:
        """Insert the bottlenecks. Raises ValueError where they would be narrower than 1, or are not supported."""
        from tunekit.methods._bottleneck import add_bottlenecks, parallel

        freeze(model)
        add_bottlenecks(model, self.reduction_factor, parallel(self.scaling))
