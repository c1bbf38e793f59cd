"""Memory of the methods on one model over batches and lengths: by the study's formulas, by ours, and as measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.memory import study_formulas as study_memory
from tunekit.errors import UserError
from tunekit.memory import BatchSizes, Shape, Work, is_followed, predict, registered_shapes, saved_bytes
from tunekit.parsing import strict_json

LENGTHS, BATCHES = (32, 64, 128, 256, 512), (8, 16, 32, 64)
METHODS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "full": {},
        "adapter": {"reduction_factor": 16},
        "lora": {"r": 32, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "query,value"},
    }
)
"""The methods with the study's hyperparameters."""
NUM_LABELS = 3
MEASURED = ("kept_measured", "peak_measured")


@dataclass(frozen=True)
class Measured:
    """The record that ``python -m benchmarks memory --json FILE`` writes."""

    rows: pd.DataFrame
    accelerate: Mapping[str, float]
    """The estimate of accelerate, in bytes by model."""
    device: str


def read_measured(path: Path) -> Measured:
    """Return the record at ``path``. Raises UserError where it can't be read or is none of this benchmark."""
    try:
        figures = strict_json(path.read_text(encoding="utf-8"))["figures"]
        return Measured(pd.DataFrame(figures["rows"]), dict(figures["accelerate"]), str(figures["device"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no record of measured memory ({error}); python -m benchmarks memory --json writes one"
        ) from error


def compare_memory(model: str, measured: Measured | None) -> pd.DataFrame:
    """Return one row a method, batch and length, in bytes: ``study_*``, ``ours_*`` and measured ``kept`` and ``peak``.

    Attention is explicit, as with the models' own dropout. A value is NaN where the study has no formula, or nothing
    was measured. Raises UserError for a model whose shape is not known.
    """
    known = [name for name, shape in registered_shapes().items() if is_followed(shape)]
    if model not in known:
        raise UserError(f"no closed form of the memory of model {model!r} is known; known are {', '.join(known)}")
    shape = registered_shapes()[model]
    rows = []
    for (method, params), batch, length in product(METHODS.items(), BATCHES, LENGTHS):
        sizes = BatchSizes.from_lengths((length,) * batch)
        work = Work(shape=shape, method=method, params=params, num_labels=NUM_LABELS, sizes=sizes)
        terms = _study(shape, method, params)
        rows.append(
            {
                "method": method, "batch": batch, "length": length,
                "study_kept": None if terms is None else terms.activations(batch, length),
                "study_peak": None if terms is None else terms.at(batch, length),
                "ours_kept": saved_bytes(work), "ours_peak": predict(work).peak,
            }
        )  # fmt: skip
    found = pd.DataFrame(rows)
    if measured is None:
        return found.assign(**dict.fromkeys(MEASURED, float("nan")), accelerate=float("nan"))
    keys = ["method", "batch", "length"]
    own = measured.rows[(measured.rows["model"] == model) & (measured.rows["attention"] == "explicit")]
    joined = found.merge(own[[*keys, *MEASURED]], on=keys, how="left")
    return joined.assign(accelerate=measured.accelerate.get(model, float("nan")))


def _study(shape: Shape, method: str, params: Mapping[str, Any]) -> study_memory.Terms | None:
    if method == "full":
        return study_memory.full(shape)
    if method == "adapter":
        return study_memory.adapter(shape, shape.hidden_size // params["reduction_factor"])
    return None
