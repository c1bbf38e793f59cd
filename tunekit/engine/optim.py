"""AdamW (Loshchilov & Hutter, 2019), its schedule and clipping, as Hugging Face's Trainer sets them."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import nn

from tunekit.engine.buffers import Buffers
from tunekit.schema import TrialSpec

MAX_GRAD_NORM = 1.0
BETAS = (0.9, 0.999)
EPS = 1e-8


def learning_rate_at(step: int, num_steps: int, spec: TrialSpec) -> float:
    """Return the learning rate of ``step`` (from 0) of ``num_steps``: linear warm-up, then linear decay to 0."""
    warmup = math.ceil(num_steps * spec.warmup_ratio)
    if step < warmup:
        return spec.learning_rate * step / max(1, warmup)
    return spec.learning_rate * (num_steps - step) / max(1, num_steps - warmup)


def decayed_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the trainable parameters that weight decay shrinks: all but biases and layer norms."""
    norms = {id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.endswith("bias") and id(parameter) not in norms
    )


class AdamW:
    """AdamW over the rows of ``buffers``, each with the rate, decay, step count and gradient norm of its own trial."""

    def __init__(
        self, buffers: Buffers, parameters: Sequence[nn.Parameter], decays: Sequence[float], decayed: Collection[str]
    ) -> None:
        """``parameters`` are those of the model that runs all K trials, in the order of the pieces of ``buffers``.

        ``decays`` are the K weight decays, and ``decayed`` the names of the pieces that they shrink.
        """
        self.parameters = list(parameters)
        # For each trial: the decay of each piece.
        self._decays = [[decay * (piece.name in decayed) for piece in buffers.pieces] for decay in decays]
        # For each trial and piece, its columns of weights and moments: (n,) each.
        self._rows = [
            [tuple(flat[trial, piece.columns] for flat in (buffers.weights, buffers.first, buffers.second))
             for piece in buffers.pieces]
            for trial in range(len(buffers))
        ]  # fmt: skip

    @torch.no_grad()
    def step(self, rates: torch.Tensor, taken: torch.Tensor) -> None:
        """Clip each trial's gradients to norm 1, take one step of all at their own ``rates``, and free the gradients.

        ``rates`` (K,) and ``taken`` (K,) lie where the weights do. ``taken`` counts, in fp32, the steps of each trial,
        and is raised by this one. A parameter that got no gradient stays as it is.
        """
        taken.add_(1)
        gradients = {
            i: p.grad.view(len(self._rows), -1) for i, p in enumerate(self.parameters) if p.grad is not None
        }  # each (K, n)
        for trial, (rows, decays) in enumerate(zip(self._rows, self._decays, strict=True)):
            own = {i: gradient[trial] for i, gradient in gradients.items()}
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(own.values()))))
            # The kernel divides the gradients by this factor as it reads them.
            factor = ((norm + 1e-6) / MAX_GRAD_NORM).clamp(min=1.0).float()
            for decay in dict.fromkeys(decays[i] for i in own):
                alike = [i for i in own if decays[i] == decay]
                weights, first, second = ([rows[i][which] for i in alike] for which in range(3))
                torch._fused_adamw_(
                    weights, [own[i] for i in alike], first, second, [], [taken[trial]] * len(alike), lr=rates[trial],
                    beta1=BETAS[0], beta2=BETAS[1], weight_decay=decay, eps=EPS, amsgrad=False, maximize=False,
                    grad_scale=factor, found_inf=None,
                )  # fmt: skip
        for parameter in self.parameters:
            parameter.grad = None
