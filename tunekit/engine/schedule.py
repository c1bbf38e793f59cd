"""The learning rate and the weight decay of a trial's parameters, by default as Hugging Face's Trainer sets them."""

import math

from torch import nn
from transformers import PreTrainedModel

from tunekit.methods import METHODS
from tunekit.models.families import FAMILIES
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


def rate_factors(model: PreTrainedModel, spec: TrialSpec) -> dict[str, float]:
    """Return the factor of the learning rate of each trainable parameter by name; factors of 1 are left out.

    A method may have a factor for each parameter, by its name (``Method.rate_factor``). The head's is multiplied by
    the spec's ``head_learning_rate``, and those of layers and embeddings by their decay.
    """
    of_method = getattr(METHODS[spec.method](**spec.method_params), "rate_factor", lambda name: 1.0)
    head = FAMILIES[model.config.model_type].head
    factors = {
        name: of_method(name)
        * (spec.head_learning_rate if name.startswith(head) else spec.layer_decay ** layers_above(name, model))
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    return {name: factor for name, factor in factors.items() if factor != 1}


def layers_above(name: str, model: PreTrainedModel) -> int:
    """Return how many layers lie between the parameter ``name`` and the output, including its own.

    As in BEiT (Bao et al., 2022), the embeddings have one more than the first layer, and the head and all else that
    lies in no layer has 0.
    """
    num_layers: int = model.config.num_hidden_layers
    layers = f"{FAMILIES[model.config.model_type].layers}."
    if name.startswith(layers):
        return num_layers - int(name.removeprefix(layers).partition(".")[0])
    return num_layers + 1 if "embeddings" in name else 0


def decayed_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the trainable parameters that weight decay shrinks: all but biases and layer norms."""
    norms = {id(p) for module in model.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
    return frozenset(
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.endswith("bias") and id(parameter) not in norms
    )
