"""The figure of score against cost: the cells of one dataset over parameters, peak memory and time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.cells import Cell, metric_label
from analysis.configurations import configurations
from analysis.figures.captioned import CaptionedFigure, figure_stem
from analysis.figures.drawing import wrapped
from analysis.figures.labels import row_labels, seeds_text, splits_text
from analysis.figures.plots import score_against_cost
from analysis.statistics.this_set import mean_interval

# The costs in a trial's summary, each with the label of its axis and the value that is 1 there.
COSTS = {
    "num_trainable_params": ("trainable parameters", 1),
    "peak_memory_bytes": ("peak memory (MiB)", 2**20),
    "train_seconds": ("training and scoring (minutes)", 60),
}
MEMORY = "peak_memory_bytes"
CHARACTERS_PER_INCH = 15
"""The approximate number of characters of 8 points in an inch."""


def cost_figures(members: Sequence[Cell], metric: str) -> list[CaptionedFigure]:
    """Return the figure of those configurations of ``members``, all of one dataset, that count.

    The list is empty where the figure has no panel.
    """
    chosen = [one.chosen for one in configurations(members) if one.chosen]  # test ranks no settings of one method
    drawn = {cost: [n for n, one in enumerate(chosen) if _compares(one, cost)] for cost in COSTS}
    found = {cost: points for cost, places in drawn.items() if len(points := _points(chosen, places, metric, cost)) > 1}
    if not found:
        return []
    names = [f"{number}  {wrapped(label, 48, 1)}" for number, label in enumerate(row_labels(chosen), 1)]
    width = 0.6 + 2.5 * len(found)
    beside = max(1, int(width * CHARACTERS_PER_INCH) // (max(map(len, names)) + 4))  # names that fit beside each other
    figure = Figure(figsize=(width, 3.2 + 0.17 * -(-len(names) // beside)), layout="constrained")
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    axis = replace(members[0].measure(metric), label=metric_label(metric, members))
    for (cost, points), ax in zip(found.items(), axes, strict=True):
        score_against_cost(points, ax, axis, COSTS[cost][0]).label_outer()
    unseen = [Line2D([], [], linestyle="") for _ in names]
    figure.legend(
        unseen, names, loc="outside lower center", ncols=beside, fontsize=8, frameon=False, handlelength=0,
        handletextpad=0,
    )  # fmt: skip
    bounded = any(points["low"].notna().any() for points in found.values())
    intervals = ", 95 % Student-t intervals over seeds on these test items" if bounded else ""
    name = members[0].dataset_name
    figure.suptitle(wrapped(f"{name}, {axis.label} against cost", 40 * len(found), 3), fontsize=10)
    caption = (
        f"{name}: {axis.label} on the {splits_text(members)} split against cost, means over {seeds_text(members)}"
        f"{intervals}. The dashed line is the Pareto front, and the numbers of the points on it are bold: no other "
        "point scores as well at no more cost."
    )
    if len(drawn[MEMORY]) < len(chosen):
        caption += " Peak memory on a CPU is left out: it is the whole process's and does not compare methods."
    if len(chosen) < len(members):
        caption += " Methods with several settings of which validation can't choose one are left out."
    return [CaptionedFigure(figure_stem("cost", members[0].dataset), caption, "cost", figure)]


def _compares(cell: Cell, cost: str) -> bool:
    """Return whether a cost of ``cell`` compares methods: memory on a CPU is that of a process, with all its trials."""
    return cost != MEMORY or "cpu" not in cell.devices


def _points(members: Sequence[Cell], places: Sequence[int], metric: str, cost: str) -> pd.DataFrame:
    """Return a row for each cell at ``places`` that has a score and the cost, as ``score_against_cost`` takes them.

    The index is the place of the cell; the columns are label, cost, score, low and high.
    """
    rows = {}
    labels = row_labels(members)
    for place in places:
        cell, label = members[place], labels[place]
        score, spent = cell.sample(metric), cell.sample(cost)
        if score is None or spent is None or spent.mean <= 0:
            continue
        interval = mean_interval(score)
        bounds = (np.nan, np.nan) if interval is None else (interval.low, interval.high)
        rows[place] = (label, spent.mean / COSTS[cost][1], score.mean, *bounds)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["label", "cost", "score", "low", "high"])
