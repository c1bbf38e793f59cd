"""Learning curves: data and an ``ax`` in, ``ax`` out. Single seeds thin, their mean thick, a band of one sample std."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tunekit.schema import EpochRecord

FIELDS = {item.name: item.metadata for item in fields(EpochRecord)}
# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = {"accuracy": "#0072B2", "micro_f1": "#E69F00", "macro_f1": "#009E73", "loss": "#D55E00"}
STYLES = {"accuracy": "-", "micro_f1": (0, (2, 3)), "macro_f1": "-"}
FORMATS = ("png", "svg", "pdf")
MAX_POINTS = 400


def plain(text: str) -> str:
    """``text`` that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def band(curves: pd.DataFrame, ax: Axes, label: str, colour: str, style: object = "-") -> Axes:
    """Draw ``curves``, one column a seed over the index: each thin, the mean thick, mean ± sample std where n > 1."""
    for seed in curves:
        ax.plot(curves.index, curves[seed], color=colour, alpha=0.35, linewidth=0.6)
    mean, std = curves.mean(axis=1), curves.std(axis=1, ddof=1)
    ax.plot(curves.index, mean, color=colour, linewidth=1.8, linestyle=style, label=plain(label))
    ax.fill_between(curves.index, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    return ax


def score_curve(epochs: pd.DataFrame, metric: str, ax: Axes) -> Axes:
    """``metric`` (a field of EpochRecord) after each epoch, in percent where it is a score.

    ``epochs`` has one row an epoch and trial: seed, epoch, and the metric.
    """
    facts = FIELDS[metric]
    scale = 100.0 if facts["unit"] == "%" else 1.0
    curves = epochs.pivot_table(index="epoch", columns="seed", values=metric) * scale
    kind = metric.split("_", 1)[1]
    return band(curves, ax, facts["label"], COLOURS.get(kind, "#000000"), STYLES.get(kind, "-"))


def loss_curve(steps: pd.DataFrame, ax: Axes) -> Axes:
    """Training loss over optimizer steps; beyond 400 steps, means of equal runs of steps, named on the axis.

    ``steps`` has one row a step and trial: seed, step, train_loss.
    """
    width = -(-int(steps["step"].max()) // MAX_POINTS)
    last = ((steps["step"] - 1) // width + 1) * width
    curves = steps.assign(step=last).pivot_table(index="step", columns="seed", values="train_loss")
    ax.set_xlabel("step" if width == 1 else f"step (means of {width})")
    ax.set_ylabel(FIELDS["train_loss"]["label"])
    return band(curves, ax, FIELDS["train_loss"]["label"], COLOURS["loss"])


def learning_curves(steps: pd.DataFrame | None, epochs: pd.DataFrame, split: str, title: str) -> Figure:
    """Training loss over steps (over epochs where no steps are kept) beside accuracy, micro- and macro-F1 an epoch."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    if steps is None:
        score_curve(epochs, "train_loss", left)
        left.set_xlabel("epoch")
        left.set_ylabel(FIELDS["train_loss"]["label"])
    else:
        loss_curve(steps, left)
    for kind in ("accuracy", "micro_f1", "macro_f1"):
        metric = f"{split}_{kind}"
        if epochs[metric].notna().any():
            score_curve(epochs, metric, right)
    reached = epochs.groupby("epoch")["seed"].nunique()
    fewer = reached.index[reached < reached.max()]
    uneven = f" (fewer seeds from epoch {fewer[0]})" if len(fewer) else ""
    right.set_xlabel(f"epoch{uneven}")
    right.set_ylabel("score (%)")
    right.legend(fontsize=8, frameon=False)
    right.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(plain(f"{title}, n = {epochs['seed'].nunique()}, mean ± std over seeds"), fontsize=10)
    return figure


def share_limits(figures: Sequence[Figure]) -> None:
    """Give figures that will be compared the same axis limits, panel by panel; losses start at 0."""
    for panel in range(2):
        axes = [figure.axes[panel] for figure in figures]
        low = 0.0 if panel == 0 else min(ax.get_ylim()[0] for ax in axes)
        high = max(ax.get_ylim()[1] for ax in axes)
        for ax in axes:
            ax.set_ylim(low, high)


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write each figure as ``folder/<stem>.png``, ``.svg`` and ``.pdf``, the same bytes each time. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tunekit"}):
        for stem, figure in figures.items():
            for suffix in FORMATS:
                path = folder / f"{stem}.{suffix}"
                metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
                figure.savefig(path, dpi=200, metadata=metadata)
                written.append(path)
    return written
