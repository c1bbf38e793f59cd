"""Pfeiffer adapter (Pfeiffer et al., 2020)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tunekit.methods.adapter import Adapter
from tunekit.methods.base import METHODS, freeze

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@METHODS.register("pfeiffer")
@dataclass(frozen=True, kw_only=True)
class Pfeiffer(Adapter):
    """One bottleneck a layer, after feed-forward and its layer norm, of width hidden size / reduction factor."""

    display_name: ClassVar[str] = "Pfeiffer adapter"

    def prepare(self, model: "PreTrainedModel") -> None:
        """Insert the bottlenecks. Raises ValueError where they would be narrower than 1, or are not supported."""
        from tunekit.methods._bottleneck import PFEIFFER, add_bottlenecks

        freeze(model)
        add_bottlenecks(model, self.reduction_factor, PFEIFFER)
