"""AdamW (Loshchilov & Hutter, 2019), its schedule and clipping, as Hugging Face's Trainer sets them."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from tunekit.engine.stacking import Stack
from tunekit.schema import TrialSpec

MAX_GRAD_NORM = 1.0


def learning_rate_at(step: int, num_steps: int, spec: TrialSpec) -> float:
    """Return the learning rate of ``step`` (from 0) of ``num_steps``: linear warm-up, then linear decay to 0."""
    warmup = math.ceil(num_steps * spec.warmup_ratio)
    if step < warmup:
        return spec.learning_rate * step / max(1, warmup)
    return spec.learning_rate * (num_steps - step) / max(1, num_steps - warmup)


def make_optimizer(model: nn.Module, spec: TrialSpec) -> torch.optim.AdamW:
    """Return a fused AdamW over the trainable parameters, without decay on biases and layer norms."""
    norms = {id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = name.endswith("bias") or id(parameter) in norms
            (others if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=spec.learning_rate, fused=True)


def step_optimizer(optimizer: torch.optim.AdamW, parameters: list[nn.Parameter], learning_rate: float) -> None:
    """Clip this trial's gradients to norm 1, take one step at ``learning_rate``, and clear the gradients."""
    nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM, foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class StackedAdamW:
    """AdamW over a stack of K trials, in a few operations for all of them.

    Each trial has its own learning rate, decay, step count and gradient norm. While a stacked optimizer lives, the
    state of each trial's own optimizer is a view of the stacked state: its moments at any time, its step counts after
    ``write_steps``.
    """

    def __init__(self, stack: Stack, optimizers: Sequence[torch.optim.AdamW], steps: Sequence[int]) -> None:
        self.stack, self.optimizers, self.steps = stack, list(optimizers), list(steps)
        group = optimizers[0].param_groups[0]
        self.betas, self.eps = group["betas"], group["eps"]
        # The moments, the running means of gradients and of their squares: (K, P).
        self.first, self.second = torch.zeros_like(stack.weights), torch.zeros_like(stack.weights)
        self.decays = [max(group["weight_decay"] for group in one.param_groups) for one in optimizers]
        self.decayed = torch.zeros_like(stack.weights[0])
        """(P,), 1 where weights decay and 0 elsewhere, the same for every trial."""
        plain = {
            p for one in optimizers for part in one.param_groups if not part["weight_decay"] for p in part["params"]
        }
        for stacked in stack.parameters:
            self.decayed[stacked.columns] = any(parameter not in plain for parameter in stacked.parameters)
            moments = (stacked.views(self.first), stacked.views(self.second))
            for trial, parameter in enumerate(stacked.parameters):
                state = optimizers[trial].state[parameter]
                for name, views in zip(("exp_avg", "exp_avg_sq"), moments, strict=True):
                    if name in state:
                        views[trial].copy_(state[name])
                    state[name] = views[trial]
        self.write_steps()

    def step(self, learning_rates: Sequence[float]) -> None:
        """Clip each trial's gradients to norm 1, take one step of all at their own rates, and clear the gradients."""
        weights, gradients, (beta1, beta2) = self.stack.weights, self.stack.gradients, self.betas
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        gradients.mul_((MAX_GRAD_NORM / (norms + 1e-6)).clamp_(max=1.0))
        self.steps = [step + 1 for step in self.steps]
        rates = self._column(learning_rates)
        corrections = self._column([math.sqrt(1 - beta2**step) for step in self.steps])
        sizes = self._column([rate / (1 - beta1**step) for rate, step in zip(learning_rates, self.steps, strict=True)])
        if any(self.decays):
            weights.mul_(1 - rates * self._column(self.decays) * self.decayed)
        self.first.lerp_(gradients, 1 - beta1)
        self.second.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        denominator = self.second.sqrt().div_(corrections).add_(self.eps)
        weights.sub_(self.first.mul(sizes).div_(denominator))
        gradients.zero_()

    def _column(self, values: Sequence[float]) -> torch.Tensor:
        """Return ``values`` as (K, 1), sent without waiting for the device."""
        column = torch.tensor(values, dtype=torch.float64)[:, None].to(self.stack.weights.dtype)
        return column.to(self.stack.weights.device, non_blocking=True)

    def write_steps(self) -> None:
        """Tell each trial's own optimizer how many steps it has taken."""
        for optimizer, step in zip(self.optimizers, self.steps, strict=True):
            for parameter, state in optimizer.state.items():
                state["step"] = torch.tensor(float(step), device=parameter.device)

    def release(self) -> None:
        """Give each trial's own optimizer tensors of its own again."""
        self.write_steps()
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = state[name].clone(memory_format=torch.contiguous_format)
