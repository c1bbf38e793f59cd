"""Predicted against real peak memory of a sweep's trials."""

import json
from collections.abc import Sequence

from analysis.cells import Cell
from analysis.report.document import Grid, Inline, Link, Paragraph, Section

MIB = 2**20


def predictions_section(found: Sequence[Cell]) -> Section:
    """Each cell's peak by the closed form beside what its trials recorded; empty where no trial holds a prediction."""
    rows: list[tuple[Inline, ...]] = []
    for cell in found:
        predicted, real = (cell.by_seed(name) for name in ("predicted_memory_bytes", "peak_memory_bytes"))
        seeds = [seed for seed in predicted if seed in real]
        if not seeds:
            continue
        means = [sum(values[seed] for seed in seeds) / len(seeds) for values in (predicted, real)]
        errors = [100 * (predicted[seed] / real[seed] - 1) for seed in seeds]
        texts = (_device(cell), str(len(seeds)), *(f"{mean / MIB:,.0f}" for mean in means))
        rows.append((Link(cell.title, f"#{cell.anchor}"), *texts, f"{min(errors):+.1f} to {max(errors):+.1f}"))
    about = Paragraph(
        "Means over trials. Predicted: the closed form over the batches that a trial saw, with what its process used "
        "before. Real: on a GPU what torch's allocator gave out at most; on a CPU the process's resident memory, "
        "in which libraries, and freed memory that was not handed back, count too. Error: of single trials."
    )
    head = ("cell", "device", "n", "predicted (MiB)", "real (MiB)", "error (%)")
    return Section("Predicted and real memory", (about, Grid(head, tuple(rows))) if rows else (), "memory")


def _device(cell: Cell) -> str:
    """The devices that its trials ran on."""
    devices = {str(json.loads(run.execution).get("device", "unknown")) for run in cell.completed}
    return ", ".join(sorted(devices))
