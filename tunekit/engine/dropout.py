"""Dropout whose masks come from the trial's own stream, so that they do not depend on what else the process draws."""

import torch
from torch import nn

from tunekit.seeding import stream_seed


class MaskStream:
    """The generator of one trial's dropout masks, set anew before each step."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.generator = torch.Generator(device)

    def start(self, step: int) -> None:
        """Begin the masks of ``step``; its sites then draw in the order of the forward pass."""
        self.generator.manual_seed(stream_seed(self.seed, "dropout", step))


class StreamDropout(nn.Module):
    """``nn.Dropout`` (Srivastava et al., 2014) that draws from a ``MaskStream``."""

    def __init__(self, p: float, stream: MaskStream) -> None:
        super().__init__()
        self.p = p
        self.stream = stream

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with entries zeroed with probability p and the others scaled by 1 / (1 - p), in training only."""
        if not self.training or self.p == 0:
            return x
        mask = torch.empty_like(x, requires_grad=False).bernoulli_(1 - self.p, generator=self.stream.generator)
        return x * mask.div_(1 - self.p)


def use_stream(model: nn.Module, stream: MaskStream) -> None:
    """Put a ``StreamDropout`` in the place of every ``nn.Dropout`` of ``model``."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, StreamDropout(child.p, stream))


def has_attention_dropout(model: nn.Module) -> bool:
    """Whether any self-attention of ``model`` drops probabilities, which fused attention can't do from a stream."""
    return any(
        isinstance(module.dropout, StreamDropout) and module.dropout.p > 0
        for module in model.modules()
        if hasattr(module, "query") and hasattr(module, "dropout")
    )
