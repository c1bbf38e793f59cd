"""Learning curves: data and an ``ax`` in, ``ax`` out.

Single seeds are thin lines, their mean a thick one, with a band of one sample standard deviation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import freeze_layout, hover, wrapped
from analysis.names import SPLITS
from tunekit.schema import EpochRecord
from tunekit.tasks import TASKS, Task
from tunekit.tasks.base import SCORED_SPLITS

FIELDS = {item.name: item.metadata for item in fields(EpochRecord)}


def fields_of(task: Task) -> Mapping[str, Mapping[str, Any]]:
    """Return the values of an epoch's record of ``task`` that can be drawn: the label and unit of each, by name."""
    scores = {
        f"{split}_{one.name}": {"label": f"{SPLITS[split].capitalize()} {one.label}", "unit": one.unit}
        for split in SCORED_SPLITS
        for one in task.metrics
    }
    of_every_task = {name: facts for name, facts in FIELDS.items() if not name.startswith(("val_", "test_", "best_"))}
    return FIELDS if set(scores) <= set(FIELDS) else {**of_every_task, **scores}


@dataclass(frozen=True)
class LineStyle:
    """The style of a mean's line: a colour for colour-blind readers (Okabe and Ito), dashes and marker for grey."""

    colour: str
    style: str | tuple[float, tuple[float, ...]] = "-"
    marker: str = ""


LINE_STYLES = {
    "accuracy": LineStyle("#0072B2", "-", "o"),
    "micro_f1": LineStyle("#E69F00", (0, (1, 2))),
    "macro_f1": LineStyle("#009E73", (0, (5, 2)), "s"),
    "loss": LineStyle("#D55E00", "-", "o"),
}
# Okabe and Ito's palette again; the lines of one panel differ by marker and dashes too.
SERIES = (
    LineStyle("#0072B2", "-", "o"),
    LineStyle("#D55E00", (0, (5, 2)), "s"),
    LineStyle("#009E73", (0, (1, 1.5)), "^"),
    LineStyle("#CC79A7", (0, (5, 2, 1, 2)), "D"),
    LineStyle("#E69F00", (0, (3, 1)), "v"),
    LineStyle("#56B4E9", (0, (1, 3)), "P"),
)
MAX_POINTS = 400
MAX_HOVERS = 50


class NotebookFigure(Figure):
    """A figure that belongs to no window and that a notebook shows where it is the last value of a cell."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        freeze_layout(self)
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def line_style(place: int) -> LineStyle:
    """Return the line style of the series at ``place``; there are six, which repeat."""
    return SERIES[place % len(SERIES)]


def band(curves: pd.DataFrame, ax: Axes, label: str, line_style: LineStyle) -> Axes:
    """Draw ``curves``, one column a seed over the index: each thin, the mean thick, mean ± sample std where n > 1.

    Hover values call the index by its name.
    """
    for seed in curves:
        ax.plot(curves.index, curves[seed], color=line_style.colour, alpha=0.4, linewidth=0.6)
    mean, std = curves.mean(axis=1), curves.std(axis=1, ddof=1)
    marker: dict[str, Any] = {"marker": line_style.marker, "markersize": 4, "markevery": -(-len(mean) // 12)}
    thick = 1.8 if len(mean) < 100 else 1.2
    ax.plot(
        curves.index, mean, color=line_style.colour, linewidth=thick, linestyle=line_style.style, label=label, **marker
    )
    ax.fill_between(curves.index, mean - std, mean + std, color=line_style.colour, alpha=0.15, linewidth=0)
    counts = curves.notna().sum(axis=1)
    shown = curves.index[:: -(-len(mean) // MAX_HOVERS)]
    spreads = [f" ± {value:.2f}" if np.isfinite(value) else "" for value in std[shown]]
    texts = [
        f"{curves.index.name} {x:,}: {label} {mean[x]:.2f}{spread} (n = {counts[x]})"
        for x, spread in zip(shown, spreads, strict=True)
    ]
    hover(ax, shown, mean[shown], texts)
    return ax


CLASSIFICATION = TASKS["classification"]


def score_curve(
    epochs: pd.DataFrame, metric: str, ax: Axes, task: Task = CLASSIFICATION, style: LineStyle | None = None
) -> Axes:
    """Draw ``metric`` (a value of a record of ``task``) after each epoch, in percent where it is a share.

    ``epochs`` has one row an epoch and trial: seed, epoch, and the metric. ``style`` is that of the line where the
    metric has none of its own.
    """
    facts = fields_of(task)[metric]
    scale = 100.0 if facts["unit"] == "%" else 1.0
    curves = epochs.pivot_table(index="epoch", columns="seed", values=metric) * scale
    ax.set_xlabel("epoch")
    return band(curves, ax, facts["label"], LINE_STYLES.get(metric.split("_", 1)[1], style or SERIES[0]))


def loss_curve(steps: pd.DataFrame, ax: Axes, steps_per_epoch: float) -> Axes:
    """Draw the mean training loss of each epoch as ``band`` does, over the faint losses of single steps.

    ``steps`` has one row a step and trial: seed, step, train_loss. The trials may have run different numbers of epochs,
    each of ``steps_per_epoch`` steps. The axis is in epochs; a mean is drawn at the middle of its epoch. Where there
    are more than 400 steps, means over equal runs of steps are drawn.
    """
    count = int(steps["step"].max())
    width = -(-count // MAX_POINTS)
    last = np.minimum(((steps["step"] - 1) // width + 1) * width, count) / steps_per_epoch
    raw = steps.assign(place=last).pivot_table(index="place", columns="seed", values="train_loss")
    for seed in raw:
        ax.plot(raw.index, raw[seed], color=LINE_STYLES["loss"].colour, alpha=0.25, linewidth=0.5)
    epoch = np.ceil(steps["step"] / steps_per_epoch - 1e-9).astype(int)
    curves = steps.assign(epoch=epoch - 0.5).pivot_table(index="epoch", columns="seed", values="train_loss")
    ax.set_xlabel("epoch")
    return band(curves, ax, FIELDS["train_loss"]["label"], LINE_STYLES["loss"])


def panels(
    steps: pd.DataFrame | None, epochs: pd.DataFrame, split: str, axes: Sequence[Axes], task: Task = CLASSIFICATION
) -> Sequence[Axes]:
    """Draw the training loss (that of steps too, where they are kept) on the first of two axes, scores on the second.

    Both axes are in epochs and have the same limits. The scores are those of ``task`` that have bounds on both sides,
    so that they share an axis. A metric that no trial recorded is left out, and so is micro-F1 where it equals
    accuracy.
    """
    losses, scores = axes
    if steps is not None:
        loss_curve(steps, losses, float(epochs["step"].iloc[0] / epochs["epoch"].iloc[0]))
    elif epochs["train_loss"].notna().any():
        score_curve(epochs, "train_loss", losses)
    shares = [one for one in task.metrics if one.is_share]
    names = [name for one in shares if (name := f"{split}_{one.name}") in epochs]
    for place, metric in enumerate(names):
        same = (
            metric.endswith("micro_f1")
            and f"{split}_accuracy" in names
            and np.allclose(epochs[metric].astype(float), epochs[f"{split}_accuracy"].astype(float), equal_nan=True)
        )
        if epochs[metric].notna().any() and not same:
            score_curve(epochs, metric, scores, task, line_style(place))
    reached = epochs.groupby("epoch")["seed"].nunique()
    fewer = reached.index[reached < reached.max()]
    if len(fewer):
        scores.set_xlabel(f"epoch (fewer seeds from epoch {fewer[0]})")
    last = int(epochs["epoch"].max())
    for ax in axes:
        ax.set_xlim(-0.05 * last, 1.05 * last)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    losses.set_ylabel("training loss")
    scores.set_ylabel("score (%)" if all(one.unit == "%" for one in shares) else "score")
    return axes


def learning_curves(
    steps: pd.DataFrame | None, epochs: pd.DataFrame, split: str, title: str, task: Task = CLASSIFICATION
) -> Figure:
    """Return a figure of the training loss beside the scores after each epoch, such as accuracy, micro- and macro-F1.

    The data are as ``panels`` takes them.
    """
    n = epochs["seed"].nunique()
    heading = wrapped(f"{title}, n = {n}{', mean ± std over seeds' if n > 1 else ''}", 80, 3)
    # The panels are at the same places in all figures, so that figures can be set side by side; sizes are in inches.
    width, above, panel, below = 6.6, 0.17 + 0.17 * len(heading.split("\n")), 2.35, 0.5
    height = above + panel + below
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(1, 2)
    # Scores that are not in percent have wider ticks.
    between = 0.2 if all(one.unit == "%" for one in task.metrics if one.is_share) else 0.3
    figure.subplots_adjust(0.65 / width, below / height, 1 - 0.1 / width, 1 - above / height, wspace=between)
    _, scores = panels(steps, epochs, split, axes, task)
    if scores.lines:
        scores.legend(fontsize=8, frameon=False)
    figure.suptitle(heading, fontsize=10, y=1 - 0.06 / height)
    return figure


def share_limits(compared: Sequence[Sequence[Axes]]) -> None:
    """Give panels that will be compared, each a pair as ``panels`` takes, the same axis limits; losses start at 0."""
    for number, axes in enumerate(zip(*compared, strict=True)):
        low = min(ax.get_ylim()[0] for ax in axes) if number else 0.0
        high = max(ax.get_ylim()[1] for ax in axes)
        bounds = [bound for ax in axes for bound in ax.get_xlim()]
        for ax in axes:
            ax.set(xlim=(min(bounds), max(bounds)), ylim=(low, high))


MAX_COLUMNS = 5


@dataclass(frozen=True)
class CellCurves:
    """The curves of one cell; ``steps`` and ``epochs`` are as ``panels`` takes them."""

    label: str
    steps: pd.DataFrame | None
    epochs: pd.DataFrame
    split: str
    task: Task = CLASSIFICATION


def overview(columns: Sequence[CellCurves], title: str) -> NotebookFigure:
    """Return the curves of ``columns`` side by side, five a row; losses are over epochs where one lacks steps."""
    if any(column.steps is None for column in columns):
        columns = [replace(column, steps=None) for column in columns]
    bands = ceil(len(columns) / MAX_COLUMNS)
    width = ceil(len(columns) / bands)
    figure = NotebookFigure(figsize=(2.2 * width + 0.8, 4.2 * bands + 0.8), layout="constrained")
    grid = figure.subplots(2 * bands, width, squeeze=False)
    pairs = [list(grid[2 * band : 2 * band + 2, place]) for band in range(bands) for place in range(width)]
    for number, (column, pair) in enumerate(zip(columns, pairs, strict=False)):
        panels(column.steps, column.epochs, column.split, pair, column.task)
        pair[0].set_title(wrapped(column.label, 28, 3), fontsize=9)
        for ax in pair:
            ax.tick_params(labelsize=8, labelleft=number % width == 0)
            ax.set_xlabel(ax.get_xlabel(), fontsize=8)
            ax.set_ylabel("" if number % width else ax.get_ylabel(), fontsize=8)
    share_limits(pairs[: len(columns)])
    for ax in (ax for pair in pairs[len(columns) :] for ax in pair):
        ax.remove()
    named = {label: handle for _, ax in pairs for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if named:
        figure.legend(named.values(), named, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(wrapped(title, 26 * width, 3), fontsize=10)
    return figure


def metric_panel(columns: Sequence[CellCurves], metrics: Sequence[str], title: str) -> NotebookFigure:
    """Return one panel with a line a cell: mean over seeds, a band of one sample std, and single seeds thin.

    ``metrics`` has the field of EpochRecord that is drawn for each of ``columns``: cells may differ in their split.
    """
    facts = fields_of(columns[0].task)[metrics[0]]
    scale = 100.0 if facts["unit"] == "%" else 1.0
    figure = NotebookFigure(figsize=(6.4, 4), layout="constrained")
    ax = figure.subplots()
    for place, (column, metric) in enumerate(zip(columns, metrics, strict=True)):
        curves = column.epochs.pivot_table(index="epoch", columns="seed", values=metric) * scale
        band(curves, ax, wrapped(column.label, 48, 2), line_style(place))
    ax.set(
        xlabel="epoch", ylabel=" ".join(filter(None, [facts["label"], f"({facts['unit']})" if facts["unit"] else ""]))
    )
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(wrapped(title, 80, 2), fontsize=10)
    return figure
