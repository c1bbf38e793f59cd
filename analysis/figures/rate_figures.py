"""The figures of a grid's learning rates: scores on validation against the rate, with a line for each method."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.cells import metric_label
from analysis.figures.captioned import CaptionedFigure, figure_stem
from analysis.figures.curves import line_style
from analysis.figures.drawing import hover, wrapped
from analysis.names import rounded
from analysis.rates import RateMap, metric_of, rate_of
from analysis.tables.table import shown


def rate_figures(maps: Sequence[RateMap]) -> list[CaptionedFigure]:
    """Return a figure for each model and dataset of ``maps``."""
    groups: dict[tuple[str, str], list[RateMap]] = {}
    for one in maps:
        groups.setdefault((one.chosen.model, one.chosen.dataset), []).append(one)
    return [_figure(members) for members in groups.values()]


def _figure(members: Sequence[RateMap]) -> CaptionedFigure:
    first = members[0].chosen
    name = metric_label(metric_of(members[0]), [first])
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    ax = figure.subplots()
    draw_rates(members, ax)
    percent = " (%)" if first.measure(metric_of(members[0])).unit == "%" else ""
    ax.set_ylabel(f"{name} on validation{percent}")
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    where = f"{first.model_name}, {first.dataset_name}"
    figure.suptitle(wrapped(f"{where}: learning rate", 65, 2), fontsize=10)
    caption = (
        f"{where}: {name} on validation against the learning rate, mean over seeds; a band is one sample standard "
        "deviation. A ring marks the default of a method, a star its best rate. Horizontal bars at the bottom span the "
        "rates around the best whose mean is at most one standard error worse."
    )
    return CaptionedFigure(figure_stem("rates", first.model, first.dataset), caption, "rates", figure)


def draw_rates(members: Sequence[RateMap], ax: Axes) -> Axes:
    """Draw the validation scores of each of ``members``, in their unit, over its learning rates."""
    for place, one in enumerate(members):
        own = line_style(place)
        rates = np.array(one.rates)
        measure = one.chosen.measure(metric_of(one))
        means = measure.scale * np.array([sample.mean for sample in one.scores])
        stds = measure.scale * np.array([sample.std or 0.0 for sample in one.scores])
        label = one.chosen.method_name
        if one.within is not None:
            ends = dict.fromkeys(rounded(end) for end in one.within)
            label += f": within one standard error of its best at {' to '.join(ends)}"
            height = 0.02 + 0.025 * place
            ax.plot(
                one.within, [height, height], color=own.colour, linewidth=3, solid_capstyle="butt",
                marker="|", transform=ax.get_xaxis_transform(),
            )  # fmt: skip
        ax.fill_between(rates, means - stds, means + stds, color=own.colour, alpha=0.13, linewidth=0)
        ax.plot(
            rates, means, color=own.colour, linestyle=own.style, marker=own.marker, markersize=4, linewidth=1.5,
            label=label,
        )  # fmt: skip
        best = one.cells.index(one.chosen)
        ax.plot(rates[best], means[best], marker="*", markersize=13, color=own.colour, linestyle="", zorder=4)
        if one.default is not None:
            at = one.cells.index(one.default)
            ax.plot(
                rates[at], means[at], marker="o", markersize=11, markerfacecolor="none", color=own.colour, linestyle="",
                zorder=4,
            )  # fmt: skip
        texts = [
            f"{one.chosen.method_name}, learning rate {rounded(rate_of(cell))}: {shown(sample, measure)} "
            f"(n = {sample.n})"
            for cell, sample in zip(one.cells, one.scores, strict=True)
        ]
        hover(ax, rates, means, texts)
    ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.04 * len(members) * (high - low), high)
    return ax
