"""Memory of training in closed form: what a step of a trial needs at most, from shapes alone. No torch."""

from tunekit.memory.closed_form import ADAMW_STATES, Memory, how_many_fit, is_followed, predict, saved_bytes
from tunekit.memory.graph import FP32, Work
from tunekit.memory.length_groups import Sizes
from tunekit.models.shapes import SHAPES, NoClosedForm, Parameters, Shape, parameters

__all__ = [
    "ADAMW_STATES", "FP32", "SHAPES", "Memory", "NoClosedForm", "Parameters", "Shape", "Sizes", "Work", "how_many_fit",
    "is_followed", "parameters", "predict", "saved_bytes",
]  # fmt: skip
