"""The report of memory: the study's formulas and their errors, the closed form, and the measured memory."""

import pandas as pd

from analysis.figures.captioned import CaptionedFigure
from analysis.figures.memory_figures import memory_figures, saved_share
from analysis.memory.comparison import Measured, compare_memory
from analysis.memory.saving_claim import saving_verdict
from analysis.memory.study_formulas import MIB, study_sections
from analysis.names import NAMES
from analysis.report.document import Grid, Inline, Paragraph, Section


def memory_report(model: str, measured: Measured | None) -> tuple[list[Section], list[CaptionedFigure]]:
    """Return the sections on the study's formulas and on the memory of ``model``, and their figures.

    Raises UserError as ``compare_memory``.
    """
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
    return [*study_sections(saving_verdict()), table, saving], figures


def _provenance(measured: Measured | None) -> str:
    """Return a sentence on the source of the measured columns."""
    if measured is None:
        return "Nothing measured is given (--measured)."
    if measured.device == "cpu":
        return "Kept is measured by saved-tensor hooks; no GPU has measured a peak."
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


def _mib(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value / MIB:,.0f}"


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"
