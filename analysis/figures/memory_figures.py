"""Memory over length, and the share of it that PEFT saves: data and an ``ax`` in, ``ax`` out."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from analysis.figures.captioned import CaptionedFigure
from analysis.figures.drawing import hover
from analysis.figures.plots import BLUE, GREY
from analysis.names import NAMES

GIB = 2**30
BATCH = 32
"""The batch size of figures over length, which is the study's."""
STYLES = {"study": (GREY, (0, (4, 2)), "study's formula"), "ours": (BLUE, "-", "closed form")}


def saved_share(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return the share in [0, 1] of full fine-tuning's peak by ``source`` (study or ours) that each other method saves.

    Its columns are method, batch, length and share; ``frame`` is as ``memory.compare_memory`` returns it.
    """
    peaks = frame.set_index(["batch", "length", "method"])[f"{source}_peak"].unstack()  # noqa: PD010 (levels, not columns)
    share = 1 - peaks.drop(columns="full").div(peaks["full"], axis=0)
    order = [method for method in dict.fromkeys(frame["method"]) if method != "full"]
    return share[order].melt(var_name="method", value_name="share", ignore_index=False).reset_index()


def over_length(rows: pd.DataFrame, kind: str, ax: Axes) -> Axes:
    """Draw ``kind`` (kept or peak) in GiB over length; ``rows`` are one method and batch of ``compare_memory``."""
    for source, (colour, dashes, label) in STYLES.items():
        values = rows[f"{source}_{kind}"].dropna()
        if len(values):
            ax.plot(rows["length"], rows[f"{source}_{kind}"] / GIB, color=colour, linestyle=dashes, label=label)
            texts = [f"{label}, {length} tokens: {value / GIB:.2f} GiB" for length, value in _pairs(rows, values)]
            hover(ax, rows.loc[values.index, "length"], values / GIB, texts)
    measured = rows[f"{kind}_measured"].dropna()
    if len(measured):
        ax.scatter(
            rows.loc[measured.index, "length"], measured / GIB, s=26, color="#000000", zorder=3,
            label="measured",
        )  # fmt: skip
    if kind == "peak" and rows["accelerate"].notna().all():
        ax.axhline(rows["accelerate"].iloc[0] / GIB, color=GREY, linewidth=1, linestyle=":", label="accelerate")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return _lengths(rows, ax)


def saving_over_length(rows: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the saved shares in percent over length, with a line for each source and batch.

    ``rows`` has the columns source, batch, length and share.
    """
    for (source, batch), own in rows.dropna(subset=["share"]).groupby(["source", "batch"]):
        size = int(str(batch))
        colour, dashes, label = STYLES[str(source)]
        ax.plot(
            own["length"], 100 * own["share"], color=colour, linestyle=dashes, linewidth=0.7 + size / 40,
            label=f"{label}, batch {size}",
        )  # fmt: skip
        texts = [f"{label}, batch {size}, {n} tokens: {100 * value:.1f} %" for n, value in _pairs(own, own["share"])]
        hover(ax, own["length"], 100 * own["share"], texts)
    ax.axhline(75, color="#000000", linewidth=0.8, linestyle=":", label="the study's claim")
    ax.set_ylim(0, 100)
    return _lengths(rows, ax)


def memory_figures(frame: pd.DataFrame, name: str) -> list[CaptionedFigure]:
    """Return the figure of each method's memory at batch 32, kept above peak, and the figure of the savings of PEFT.

    The savings are those at the smallest and at the largest batch.
    """
    methods = list(dict.fromkeys(frame["method"]))
    figure = Figure(figsize=(3 * len(methods) + 0.6, 5.2), layout="constrained")
    grid = figure.subplots(2, len(methods), sharex=True, sharey="row")
    for column, method in enumerate(methods):
        rows = frame[(frame["method"] == method) & (frame["batch"] == BATCH)]
        for row, kind in enumerate(("kept", "peak")):
            over_length(rows, kind, grid[row, column]).label_outer()
        grid[0, column].set_title(NAMES[method], fontsize=9)
    grid[0, 0].set_ylabel("kept by the graph (GiB)")
    grid[1, 0].set_ylabel("peak (GiB)")
    _legend(figure, 4)
    figure.suptitle(f"{name}, batch {BATCH}: memory by length", fontsize=10)
    caption = (
        f"{name} at batch {BATCH}: what the graph keeps, and the peak, by the study's formulas, by the closed form and "
        "measured, where it was."
    )
    memory = CaptionedFigure("memory", caption, "memory", figure)
    return [memory, _saving(frame, name)]


def _saving(frame: pd.DataFrame, name: str) -> CaptionedFigure:
    others = [method for method in dict.fromkeys(frame["method"]) if method != "full"]
    batches = (frame["batch"].min(), frame["batch"].max())
    figure = Figure(figsize=(3.4 * len(others) + 0.6, 3.4), layout="constrained")
    shares = pd.concat([saved_share(frame, source).assign(source=source) for source in STYLES])
    for method, ax in zip(others, figure.subplots(1, len(others), sharey=True, squeeze=False)[0], strict=True):
        rows = shares[(shares["method"] == method) & shares["batch"].isin(batches)]
        saving_over_length(rows, ax).label_outer()
        ax.set_title(NAMES[method], fontsize=9)
    figure.axes[0].set_ylabel("saved of the full peak (%)")
    _legend(figure, 3)
    figure.suptitle(f"{name}: memory that PEFT saves", fontsize=10)
    caption = (
        f"{name}: share of full fine-tuning's peak that each method saves, at batch {batches[0]} (thin) and "
        f"{batches[1]} (thick); dashed by the study's formulas, solid by the closed form, dotted its claim of 3/4."
    )
    return CaptionedFigure("memory-saving", caption, "memory", figure)


def _legend(figure: Figure, columns: int) -> None:
    """Draw a legend below the figure that has each label once."""
    named = {label: line for ax in figure.axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _pairs(rows: pd.DataFrame, values: pd.Series) -> list[tuple[int, float]]:
    return list(zip(rows.loc[values.index, "length"].tolist(), values.tolist(), strict=True))


def _lengths(rows: pd.DataFrame, ax: Axes) -> Axes:
    """Show lengths as plain numbers on a logarithmic axis."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(sorted(set(rows["length"]))))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.set_xlabel("tokens a sequence")
    return ax
