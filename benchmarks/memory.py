"""The closed forms of memory against measurements, beside ``accelerate estimate-memory``.

Two things are measured. What the graph keeps, by saved-tensor hooks on the engine's loss path at full depth: over the
whole grid on tensors without data, and for one batch of each model, method and path with data too. What a whole step
allocates, by torch's profiler on a CPU for that batch, by the allocator on a GPU for all batches that fit.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from accelerate.commands.estimate import estimate_training_usage
from accelerate.utils import calculate_maximum_sizes

from benchmarks.support.harness import Outcome
from tunekit.engine.memory_probe import autograd_bytes, make_weights_fake, member_of, step_bytes, with_lengths
from tunekit.memory import BatchSizes, Shape, Work, how_many_fit, predict, saved_bytes
from tunekit.methods.base import complete_params
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES
from tunekit.schema import TrialSpec

NAMES = ("bert", "roberta", "minilm")
METHODS = ("full", "adapter", "lora")
PATHS = {"explicit": 0.1, "sdpa": 0.0}
"""Attention paths, and the dropout with which the engine takes them."""
LENGTHS, BATCHES = (32, 64, 128, 256, 512), (8, 16, 32, 64)
REAL = (4, 64)
"""Batch and length that are measured with data on any machine."""
NUM_LABELS = 3


def config_of(shape: Shape, dropout: float) -> dict[str, Any]:
    """The values of a config.json of ``shape``."""
    sizes = {name: value for name, value in vars(shape).items() if value is not None}
    return {**sizes, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}


def accelerate_bytes(shape: Shape) -> float:
    """What ``accelerate estimate-memory`` calls training with Adam in fp32: of weights alone, whatever the batch."""
    family = FAMILIES[shape.model_type]
    config_kind, model_kind = family.config_class(), family.model_class("ForSequenceClassification")
    with init_empty_weights():
        model = model_kind(config_kind(**config_of(shape, 0.1), num_labels=NUM_LABELS))
    return float(max(estimate_training_usage(calculate_maximum_sizes(model)[0], "float32").values()))


def rows_of(model: str, method: str, path: str, batches: list[tuple[int, int]], gpu: bool) -> Iterator[dict[str, Any]]:
    """A row a batch and length: closed forms, measurements, and the error of each closed form in percent."""
    spec = TrialSpec(
        model=model,
        dataset="none",
        method=method,
        method_params=complete_params(method, {}),
        seed=1,
        learning_rate=1e-4,
    )
    config, small = config_of(MODELS[model].shape, PATHS[path]), (REAL[1],) * REAL[0]
    member = member_of(config, spec, small, NUM_LABELS, "cuda" if gpu else "cpu")
    shape = Shape.from_config(member.model.config.to_dict())
    works = {
        (batch, length): Work(
            shape=shape, method=method, params=spec.method_params, num_labels=NUM_LABELS,
            sizes=BatchSizes.from_lengths((length,) * batch),
        )
        for batch, length in [REAL, *batches]
    }  # fmt: skip
    stepped, with_data = {}, {REAL: autograd_bytes(member)}
    for (batch, length), work in works.items():
        roomy = gpu and how_many_fit(predict(work).peak, torch.cuda.get_device_properties(0).total_memory) >= 1
        if roomy or (batch, length) == REAL:
            stepped[batch, length] = step_bytes(with_lengths(member, (length,) * batch))
    if gpu:
        member = member_of(config, spec, small, NUM_LABELS)
    with make_weights_fake(member):
        kept = {(batch, length): autograd_bytes(with_lengths(member, (length,) * batch)) for batch, length in works}
    for key, work in works.items():
        found, closed = predict(work), saved_bytes(work)
        peak = found.weights + found.optimizer + stepped[key] if key in stepped else None
        yield {
            "model": model, "method": method, "attention": path, "batch": key[0], "length": key[1],
            "kept_closed": closed, "kept_measured": kept[key], "kept_with_data": with_data.get(key),
            "kept_error_percent": 100 * (closed / kept[key] - 1),
            "peak_closed": found.peak, "peak_measured": peak,
            "peak_error_percent": None if peak is None else 100 * (found.peak / peak - 1),
        }  # fmt: skip


def run(quick: bool) -> Outcome:
    """All models, methods and attention paths over lengths and batches; quick: MiniLM at two sizes."""
    gpu = torch.cuda.is_available()
    batches = list(product(BATCHES, LENGTHS))[:2] if quick else list(product(BATCHES, LENGTHS))
    models = ("minilm",) if quick else NAMES
    rows = [
        row
        for model, method, path in product(models, METHODS, PATHS)
        for row in rows_of(model, method, path, batches, gpu)
    ]
    kept = np.abs([row["kept_error_percent"] for row in rows])
    peaks = np.array([row["peak_error_percent"] for row in rows if row["peak_measured"] is not None])
    figures = {
        "device": torch.cuda.get_device_name(0) if gpu else "cpu",
        "kept_error_percent_max": float(kept.max()),
        "kept_rows": len(kept),
        "peak_error_percent_median": float(np.median(np.abs(peaks))),
        "peak_error_percent_max": float(np.abs(peaks).max()),
        "peak_error_percent_lowest": float(peaks.min()),
        "peak_rows": len(peaks),
        "accelerate": {model: accelerate_bytes(MODELS[model].shape) for model in models},
        "rows": rows,
    }
    return Outcome(figures=figures)
