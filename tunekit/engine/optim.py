"""AdamW, its schedule and clipping, as Hugging Face's Trainer sets them."""

import math

import torch
from torch import nn

from tunekit.schema import TrialSpec

MAX_GRAD_NORM = 1.0


def learning_rate_at(step: int, num_steps: int, spec: TrialSpec) -> float:
    """Rate of the optimizer step ``step`` (from 0) of ``num_steps``: linear warm-up, then linear decay to 0."""
    warmup = math.ceil(num_steps * spec.warmup_ratio)
    if step < warmup:
        return spec.learning_rate * step / max(1, warmup)
    return spec.learning_rate * (num_steps - step) / max(1, num_steps - warmup)


def make_optimizer(model: nn.Module, spec: TrialSpec) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov & Hutter, 2019) over the trainable parameters; no decay on biases and layer norms."""
    norms = {id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    decayed, others = [], []
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
