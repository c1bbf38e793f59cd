"""What the patched modules of a model need in a forward pass besides their input."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from tunekit.engine.forward.dropout import DropoutSites


class Operations(ABC):
    """The operations of one forward pass that depend on how its batch is laid out, and its dropout.

    ``host_operations`` computes them for flat batches, and ``device_operations`` for device batches. Modules call them
    in the order of the forward pass, which numbers the uses of dropout.
    """

    @abstractmethod
    def attention(self, module: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Return the contexts (K, T, H), or (K, B, H) in the last layer, of hidden states (K, T, H).

        ``module`` is a ``FlatSelfAttention``.
        """

    @abstractmethod
    def first_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the hidden states (K, B, H) of the first token of each sequence; ``hidden`` is (K, T, H)."""

    @abstractmethod
    def dropout(self, x: torch.Tensor, rate: float) -> torch.Tensor:
        """Return ``x`` (K, T, width) or (K, B, width) with entries dropped at ``rate`` in training."""

    def residual_norm(self, x: torch.Tensor, residual: torch.Tensor, norm: Any, rate: float) -> torch.Tensor:
        """Return the layer norm ``norm`` of ``residual`` and ``x``, of which entries are dropped at ``rate``."""
        x = self.dropout(x, rate)
        normed: torch.Tensor = norm(x + residual)
        return normed

    def linear_gelu(self, dense: Any, x: torch.Tensor) -> torch.Tensor:
        """Return GELU, in the form with erf, of what the linear module ``dense`` returns for ``x``."""
        return F.gelu(dense(x))


@dataclass
class ForwardContext:
    """What the modules of one model share. ``patching.patch_model`` gives each model one context."""

    padded: bool = False
    """Whether the model takes padded batches. The other fields but ``on_device`` are then unused."""
    on_device: bool = True
    """Whether a GPU can run the model by the kernels of ``tunekit.engine.kernels``, on batches that it makes itself."""
    of_words: bool = False
    """Whether the head reads all tokens, since words have labels. Else the last layer computes first tokens alone."""
    operations: Operations | None = None
    """The operations of the forward pass that runs now. None while none runs."""
    sites: DropoutSites = field(default_factory=lambda: DropoutSites(()))
    """All uses of dropout in the model's forward pass, in order."""

    @property
    def current(self) -> Operations:
        """The operations of the forward pass that runs now. Raises RuntimeError while none runs."""
        if self.operations is None:
            raise RuntimeError("a patched model runs through tunekit.engine.forward.patching.logits alone")
        return self.operations

    def norm_of_sum(self, norm: Any, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return the layer norm ``norm`` of ``x + residual``."""
        return self.current.residual_norm(x, residual, norm, 0.0)
