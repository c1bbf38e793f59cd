"""The critical-difference figure: rows on an axis of mean ranks, with bars over rows that no test separates."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.across import Across
from analysis.figures.captioned import CaptionedFigure, figure_stem
from analysis.figures.drawing import hover, wrapped
from analysis.figures.plots import BLUE, GREY
from analysis.statistics.across_datasets import AcrossDatasets


def critical_difference_figure(found: Across, metric_name: str, stem: str) -> CaptionedFigure | None:
    """Return the figure of a comparison over datasets; None where there is no comparison."""
    if found.compared is None:
        return None
    count = len(found.rows)
    figure = Figure(figsize=(5.6, 1.3 + 0.34 * count + 0.1 * len(found.compared.groups)), layout="constrained")
    critical_difference(found.compared, found.rows, figure.subplots())
    figure.suptitle(wrapped(f"Mean rank by {metric_name} over {len(found.datasets)} datasets", 65, 2), fontsize=10)
    caption = (
        f"Mean rank by {metric_name} over {', '.join(found.datasets)}; rank 1 is the best. A black bar spans rows "
        f"whose mean ranks differ by less than the critical difference of {found.compared.critical_difference:.2f} "
        "(Nemenyi's test at 5 %), so that the test does not separate them."
    )
    return CaptionedFigure(figure_stem("across", stem), caption, "across", figure)


def critical_difference(compared: AcrossDatasets, labels: Sequence[str], ax: Axes) -> Axes:
    """Draw the rows, named by ``labels``, at their mean ranks, best first, with a bar for each group of alike rows."""
    means = [one.value for one in compared.mean_ranks]
    order = sorted(range(len(labels)), key=means.__getitem__)
    places = range(len(order))
    ax.hlines(places, 1, len(order), color=GREY, alpha=0.3, linewidth=0.6, zorder=0)
    ax.scatter([means[row] for row in order], places, s=40, color=BLUE, zorder=3)
    top = -0.6
    for group in compared.groups:
        ends = means[group[0]], means[group[-1]]
        ax.hlines(top, *ends, color="#000000", linewidth=3, zorder=2)
        ax.vlines(ends, top, [order.index(group[0]), order.index(group[-1])], color=GREY, linewidth=0.6, zorder=1)
        top -= 0.3
    base = len(order) - 0.45
    ax.hlines(base, 1, min(1 + compared.critical_difference, len(order)), color=GREY, linewidth=2)
    note = f"critical difference {compared.critical_difference:.2f}"
    beyond = compared.critical_difference > len(order) - 1
    if beyond:
        note += ", more than the axis:\nno two rows can be separated"
    ax.text(1, base + 0.12, note, va="top", fontsize=8, color=GREY)
    ax.set_yticks(places, [wrapped(labels[row], 40, 2) for row in order])
    ax.set(
        xlim=(0.8, len(order) + 0.2),
        ylim=(len(order) + (0.7 if beyond else 0.25), top),
        xlabel="mean rank (1 is the best)",
    )
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    hover(ax, [means[row] for row in order], places, [f"{labels[row]}: {means[row]:.2f}" for row in order])
    return ax
