"""The forest plot: the difference of each row from the best row, with its interval, dataset by dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from analysis.compare import SHARE
from analysis.figures.captioned import CaptionedFigure, figure_stem
from analysis.figures.drawing import hover, wrapped
from analysis.figures.plots import BLUE, GREY
from analysis.names import estimate_text, listed
from analysis.tables.table import Standing
from tunekit.tasks import Metric


@dataclass(frozen=True)
class Difference:
    """One row minus the best row of its column."""

    label: str
    value: float
    """The difference of the means."""
    bounds: tuple[float, float] | None
    """The 95 % interval of the difference; None where no test was made."""
    worse: bool | None
    """Whether a test found the row worse than the best; None where no test was made."""


def forest_figure(
    groups: Sequence[tuple[str, Sequence[Difference]]], metric: str, where: str, stem: str, measure: Metric = SHARE
) -> CaptionedFigure:
    """Return the figure of ``groups``: each is a heading, which names the row that is subtracted, and its differences.

    ``where`` names the population of the intervals, such as ``on new texts from the same source``; it is empty where
    there are none. ``measure`` has the unit.
    """
    lines = sum(1 + len(differences) for _, differences in groups)
    figure = Figure(figsize=(5.6, 1.1 + 0.28 * lines), layout="constrained")
    forest(groups, figure.subplots(), metric, measure)
    seen = {one.worse for _, differences in groups for one in differences}
    handles = [figure.axes[0].scatter([], [], **mark) for worse, mark in MARKS.items() if worse in seen]
    labels = [label for worse, label in LABELS.items() if worse in seen]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(wrapped(f"Differences in {metric} from the best", 65, 2), fontsize=10)
    points = ", in points" if measure.unit == "%" else ""
    interval = f" with its 95 % interval {where}" if where else ", without an interval, since nothing was tested"
    marks = listed([meaning for worse, meaning in MEANINGS.items() if worse in seen])
    caption = (
        f"{metric[0].upper()}{metric[1:]} of each row minus that of the best row{points}{interval}: {marks}. The test "
        "is corrected for all comparisons of the table, the intervals are not, so that the interval of a difference "
        "that is not significant may exclude 0."
    )
    return CaptionedFigure(figure_stem("forest", stem), caption, "forest", figure)


MARKS: Mapping[bool | None, Mapping[str, Any]] = {
    True: {"s": 48, "marker": "v", "color": BLUE, "linewidths": 0, "zorder": 3},
    False: {"s": 40, "marker": "D", "color": BLUE, "linewidths": 0, "zorder": 3},
    None: {"s": 36, "marker": "s", "color": GREY, "linewidths": 0, "zorder": 3},
}
"""The marks of a row that was found worse (True), one that was not (False) and one that was not tested (None).

All are filled: in other figures a hollow point is a trial that was stopped, and a cross is one that failed.
"""
MEANINGS = {
    True: "a triangle is significantly worse than the best",
    False: "a diamond is not significantly different from it",
    None: "a square was not tested",
}
LABELS = {True: Standing.WORSE.value, False: Standing.ALIKE.value, None: Standing.NOT_TESTED.value}


def forest(
    groups: Sequence[tuple[str, Sequence[Difference]]], ax: Axes, metric: str = "score", measure: Metric = SHARE
) -> Axes:
    """Draw the differences in the unit of ``measure``, group below group; the dotted line is the best row."""
    height = 0
    places, names = [], []
    for heading, differences in groups:
        at_the_edge = blended_transform_factory(ax.figure.transFigure, ax.transData)
        # The layout would leave room beside the axes for a text above the labels there, so the title is kept out of it.
        title = ax.text(0.01, height, wrapped(heading, 75, 1), transform=at_the_edge, fontsize=9, va="center")
        title.set_in_layout(False)
        for one in sorted(differences, key=lambda item: -measure.sign * item.value):
            height += 1
            at = measure.scale * one.value
            text = measure.number(one.value, "+")
            if one.bounds is not None:
                low, high = (measure.scale * bound for bound in one.bounds)
                ax.hlines(height, low, high, color=BLUE, linewidth=1.5, zorder=2)
                text = estimate_text(measure, one.value, *one.bounds, "+")
            ax.scatter([at], [height], **MARKS[one.worse])
            hover(ax, [at], [height], [f"{one.label}: {text}"])
            places.append(height)
            names.append(wrapped(one.label, 44, 1))
        height += 1
    ax.axvline(0, color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    ax.set_yticks(places, names, fontsize=9)
    ax.set(ylim=(height - 0.4, -0.6), xlabel=f"difference in {metric}{' (points)' if measure.unit == '%' else ''}")
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    return ax
