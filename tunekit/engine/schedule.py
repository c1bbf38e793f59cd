"""The learning rate and the weight decay of a trial's parameters, by default as Hugging Face's Trainer sets them."""

import math

from torch import nn

from tunekit.methods import METHODS
from tunekit.schema import TrialSpec


def learning_rate_at(step: int, num_steps: int, spec: TrialSpec) -> float:
    """Return the learning rate of ``step`` (from 0) of ``num_steps``: linear warm-up, then the spec's schedule.

    Schedules are those of ``transformers.get_scheduler``: ``linear``, ``cosine``, and ``constant``, which is called
    ``constant_with_warmup`` there.
    """
    warmup = math.ceil(num_steps * spec.warmup_ratio)
    if step < warmup:
        return spec.learning_rate * step / max(1, warmup)
    if spec.lr_schedule == "constant":
        return spec.learning_rate
    if spec.lr_schedule == "cosine":
        passed = (step - warmup) / max(1, num_steps - warmup)
        return spec.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))
    return spec.learning_rate * (num_steps - step) / max(1, num_steps - warmup)


def rate_factors(model: nn.Module, spec: TrialSpec) -> dict[str, float]:
    """Return by which factor the learning rate of each trainable parameter is multiplied, where that is not 1.

    A method may have a factor for each parameter, by its name (``Method.rate_factor``).
    """
    factor_of = getattr(METHODS[spec.method](**spec.method_params), "rate_factor", None)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    factors = {name: factor_of(name) for name in names} if factor_of else {}
    return {name: factor for name, factor in factors.items() if factor != 1}


def decayed_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the trainable parameters that weight decay shrinks: all but biases and layer norms."""
    norms = {id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.endswith("bias") and id(parameter) not in norms
    )
