"""The memory of training in closed form: the most bytes that a step of a trial needs, from sizes alone. No torch."""

from tunekit.memory.closed_form import ADAMW_STATES, Memory, how_many_fit, is_followed, predict, saved_bytes
from tunekit.memory.graph import FP32, Work
from tunekit.memory.length_groups import BatchSizes
from tunekit.models.catalog import MODELS
from tunekit.models.shapes import NoClosedForm, Parameters, Shape, parameters

__all__ = [
    "ADAMW_STATES", "FP32", "Memory", "NoClosedForm", "Parameters", "Shape", "BatchSizes", "Work", "how_many_fit",
    "is_followed", "parameters", "predict", "registered_shapes", "saved_bytes",
]  # fmt: skip


def registered_shapes() -> dict[str, Shape]:
    """Return the shape of each registered model, by its short name."""
    return {name: MODELS[name].shape for name in MODELS}
