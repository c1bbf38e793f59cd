"""What a plan will cost in hours and bytes of disk: rough, from declared sizes and one probe."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tunekit.data.base import DATASETS
from tunekit.models import MODELS
from tunekit.plan import PlannedTrial
from tunekit.schema import TrialSpec

LONG_HOURS = 12
EFFICIENCY = 0.5
"""Share of the GEMM rate that a training step reaches (measured: 0.5 to 0.6 for MiniLM on 2 cores)."""
BASE_SIZE = (12, 768, 3072)
"""Layers, hidden and inner size assumed of a model that is not registered."""
VOCABULARY = 50_000
RECORD_BYTES = 4_000_000


def has_accelerator() -> bool:
    """Whether this machine shows an NVIDIA GPU, without importing torch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _shape(model: str) -> tuple[int, int, int]:
    """Layers, hidden and inner size of ``model``."""
    if model not in MODELS:
        return BASE_SIZE
    info = MODELS[model]
    return info.num_layers, info.hidden_size, info.intermediate_size


def encoder_params(model: str) -> int:
    """Weights of the encoder's layers, embeddings not counted."""
    layers, hidden, inner = _shape(model)
    return layers * (4 * hidden * hidden + 2 * hidden * inner)


def flops(spec: TrialSpec, sizes: Mapping[str, tuple[int, int, int]]) -> float:
    """Floating-point operations of a trial: 6 N a token trained (4 N with the backbone frozen), 2 N a token scored.

    ``sizes`` gives (training rows, scored rows, mean tokens a row) by dataset.
    """
    train, scored, tokens = sizes[spec.dataset]
    train = min(train, spec.train_limit or train)
    per_token = (6 if spec.method == "full" else 4) * train + 2 * scored
    return spec.epochs * per_token * min(tokens, spec.max_length) * encoder_params(spec.model)


def declared_sizes(dataset: str) -> tuple[int, int, int] | None:
    """(training rows, scored rows, mean tokens a row) of a registered dataset."""
    if dataset not in DATASETS:
        return None
    info = DATASETS[dataset]
    return info.num_rows["train"], info.num_rows.get("val", 0) + info.num_rows["test"], info.mean_tokens


def cpu_flops_per_second() -> float:
    """Rate of a float32 matrix product on all cores, measured for about a fifth of a second."""
    size = 1024
    a = np.ones((size, size), np.float32)
    a @ a
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.2:
        a @ a
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - start)


def cpu_hours(trials: Sequence[PlannedTrial], sizes: Mapping[str, tuple[int, int, int]]) -> float:
    """Hours that the epochs left of ``trials`` take on this machine's processor."""
    left = sum(flops(trial.spec, sizes) * (1 - trial.epochs_done / trial.spec.epochs) for trial in trials)
    return left / (EFFICIENCY * cpu_flops_per_second()) / 3600


def disk_bytes(specs: Sequence[TrialSpec], concurrent: int) -> int:
    """Bytes the records of ``specs`` and the checkpoints of ``concurrent`` running ones may take.

    A checkpoint holds a trainable weight and its two AdamW moments in float32; three may stand at a time.
    """
    largest = 0
    for spec in specs:
        full = encoder_params(spec.model) + VOCABULARY * _shape(spec.model)[1]
        largest = max(largest, 12 * (full if spec.method == "full" else full // 20))
    return len(specs) * RECORD_BYTES + 3 * min(concurrent, len(specs)) * largest


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
