"""AdamW (Loshchilov & Hutter, 2019) and clipping, as Hugging Face's Trainer sets them."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from tunekit.engine.member import Member

BETAS = (0.9, 0.999)
EPS = 1e-8


class AdamW:
    """AdamW over the rows of flat buffers, each with the rate, decay, step count and gradient norm of its own trial."""

    def __init__(self, members: Sequence[Member], model: nn.Module) -> None:
        """Optimize the trained weights of ``members``, which ``model`` runs as one, in the buffers that they share."""
        buffers, named = members[0].buffers, dict(model.named_parameters())
        self.parameters = [named[piece.name] for piece in buffers.pieces]
        # For each trial: the decay of each piece, and the factor of its rate.
        self._settings = [
            [
                (member.spec.weight_decay * (piece.name in member.decayed), member.rate_factors.get(piece.name, 1.0))
                for piece in buffers.pieces
            ]
            for member in members
        ]
        self._max_norms = [member.spec.max_grad_norm for member in members]
        # For each trial and piece, its columns of weights and moments: (n,) each.
        self._rows = [
            [tuple(flat[trial, piece.columns] for flat in (buffers.weights, buffers.first, buffers.second))
             for piece in buffers.pieces]
            for trial in range(len(buffers))
        ]  # fmt: skip

    @torch.no_grad()
    def step(self, rates: torch.Tensor, taken: torch.Tensor) -> None:
        """Clip each trial's gradients to its norm, take one step of every trial, and free the gradients.

        ``rates`` (K,) holds the trials' learning rates, which each parameter multiplies by a factor of its own
        (``Member.rate_factors``). ``taken`` (K,), in fp32, holds the number of steps that each trial has taken and is
        raised by 1. Both lie on the weights' device. A parameter that got no gradient stays as it is.
        """
        taken.add_(1)
        gradients = {
            i: p.grad.view(len(self._rows), -1) for i, p in enumerate(self.parameters) if p.grad is not None
        }  # each (K, n)
        each = zip(self._rows, self._settings, self._max_norms, strict=True)
        for trial, (rows, settings, max_norm) in enumerate(each):
            own = {i: gradient[trial] for i, gradient in gradients.items()}
            # The kernel divides the gradients by this factor as it reads them.
            factor = self._clipping(own.values(), max_norm) if max_norm else None
            for setting in dict.fromkeys(settings[i] for i in own):
                alike = [i for i in own if settings[i] == setting]
                decay, rate_factor = setting
                rate = rates[trial] if rate_factor == 1 else rates[trial] * rate_factor
                weights, first, second = ([rows[i][which] for i in alike] for which in range(3))
                torch._fused_adamw_(
                    weights, [own[i] for i in alike], first, second, [], [taken[trial]] * len(alike), lr=rate,
                    beta1=BETAS[0], beta2=BETAS[1], weight_decay=decay, eps=EPS, amsgrad=False, maximize=False,
                    grad_scale=factor, found_inf=None,
                )  # fmt: skip
        self.free_gradients()

    @staticmethod
    def _clipping(gradients: Iterable[torch.Tensor], max_norm: float) -> torch.Tensor:
        """Return the scalar to divide a trial's gradients by, so that their norm is at most ``max_norm``."""
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
        factor: torch.Tensor = ((norm + 1e-6) / max_norm).clamp(min=1.0).float()
        return factor

    def free_gradients(self) -> None:
        """Free the gradients of the last backward pass."""
        for parameter in self.parameters:
            parameter.grad = None
