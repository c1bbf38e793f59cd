"""Memory of the methods on one model over batches and lengths: the study's formulas, ours, and what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.figures.captioned import CaptionedFigure
from analysis.figures.memory_figures import memory_figures, saved_share
from analysis.memory import study_formulas as study_memory
from analysis.memory.study_formulas import MIB, study_sections
from analysis.names import NAMES
from analysis.report.document import Grid, Inline, Paragraph, Section
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
"""The methods and the study's parameters of each."""
NUM_LABELS = 3
MEASURED = ("kept_measured", "peak_measured")


@dataclass(frozen=True)
class Measured:
    """What ``python -m benchmarks memory --json FILE`` wrote."""

    rows: pd.DataFrame
    accelerate: Mapping[str, float]
    """Bytes by model."""
    device: str


def read_measured(path: Path) -> Measured:
    """The record at ``path``. Raises UserError where it can't be read or is none of this benchmark."""
    try:
        figures = strict_json(path.read_text(encoding="utf-8"))["figures"]
        return Measured(pd.DataFrame(figures["rows"]), dict(figures["accelerate"]), str(figures["device"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no record of measured memory ({error}); python -m benchmarks memory --json writes one"
        ) from error


def compare_memory(model: str, measured: Measured | None) -> pd.DataFrame:
    """One row a method, batch and length, in bytes: ``study_*``, ``ours_*`` and measured ``kept`` and ``peak``.

    Attention is explicit, as with the models' own dropout. NaN is what the study has no formula for, or nobody
    measured. Raises UserError for a model whose shape is not known.
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


def memory_report(model: str, measured: Measured | None) -> tuple[list[Section], list[CaptionedFigure]]:
    """The study's formulas, and all of it on ``model``, with its figures. Raises UserError as ``compare_memory``."""
    frame = compare_memory(model, measured)
    figures = memory_figures(frame, NAMES.get(model, model))
    name = NAMES.get(model, model)
    about = Paragraph(
        "MiB, fp32, AdamW, attention explicit with dropout, as the engine trains; all sequences of one length. Kept: "
        f"what the graph keeps for the backward pass. Peak: the most at any time. {_provenance(measured)} The study "
        "has no formula for LoRA. accelerate estimate-memory knows neither batch, length nor frozen weights."
    )
    head = (
        "method", "batch", "length", "kept: study", "ours", "measured", "peak: study", "ours", "measured", "accelerate",
    )  # fmt: skip
    columns = (
        "study_kept", "ours_kept", "kept_measured", "study_peak", "ours_peak", "peak_measured", "accelerate",
    )  # fmt: skip
    rows: list[tuple[Inline, ...]] = [
        (NAMES[row["method"]], str(row["batch"]), str(row["length"]), *(_mib(row[name]) for name in columns))
        for row in frame.to_dict("records")
    ]
    table = Section(f"{name}: formulas and measurements", (about, Grid(head, tuple(rows)), *figures[:1]), "measured")
    saving = Section(f"{name}: what PEFT saves", (_savings(frame), *figures[1:]), "saving")
    return [*study_sections(), table, saving], figures


def _provenance(measured: Measured | None) -> str:
    """Where the measured columns come from."""
    if measured is None:
        return "Nothing measured is given (--measured)."
    if measured.device == "cpu":
        return "Kept is measured by saved-tensor hooks; no GPU has measured a peak, so that column is blank."
    return f"Kept is measured by saved-tensor hooks, peak is the allocator's on {measured.device}."


def _savings(frame: pd.DataFrame) -> Grid:
    claimed, real = (saved_share(frame, source) for source in ("study", "ours"))
    rows: list[tuple[Inline, ...]] = [
        (
            NAMES[here["method"]], str(here["batch"]), str(here["length"]), _percent(there["share"]),
            _percent(here["share"]),
        )
        for here, there in zip(real.to_dict("records"), claimed.to_dict("records"), strict=True)
    ]  # fmt: skip
    head = ("method", "batch", "length", "saved by the study's formulas (%)", "saved (%)")
    return Grid(head, tuple(rows))


def without_figures(sections: Sequence[Section]) -> list[Section]:
    """``sections`` without figures, for a terminal."""
    return [
        Section(one.title, tuple(b for b in one.blocks if not isinstance(b, CaptionedFigure)), one.anchor, one.parts)
        for one in sections
    ]


def _mib(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value / MIB:,.0f}"


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"
