"""Plots of score against cost, confusion and spread over seeds: data and an ``ax`` in, ``ax`` out."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.compare import SHARE
from analysis.figures.drawing import hover, wrapped
from analysis.names import estimate_text
from tunekit.tasks import Metric

BLUE, GREY = "#0072B2", "#767676"
MAX_NUMBERED = 25  # classes
NEAR = 0.06
"""The distance below which the numbers of two points would cover each other, as a share of the axis."""


def pareto(points: pd.DataFrame, measure: Metric = SHARE) -> pd.Series:
    """Return, for each row, whether no other row scores as well at no more cost, one of the two strictly better.

    ``points`` has the columns cost and score, which is of ``measure``.
    """
    cost, score = points["cost"].to_numpy(), measure.sign * points["score"].to_numpy()
    no_worse = (cost[:, None] <= cost) & (score[:, None] >= score)
    better = (cost[:, None] < cost) | (score[:, None] > score)
    return pd.Series(~(no_worse & better).any(axis=0), index=points.index)


def score_against_cost(points: pd.DataFrame, ax: Axes, measure: Metric = SHARE, cost: str = "cost") -> Axes:
    """Draw the scores of ``points`` against their costs, with a number beside each and a line along the Pareto front.

    ``points`` has one row a cell: label, cost (above 0), score, and the bounds low and high of its mean's interval; NaN
    bounds give no error bar. The index is the place of the cell, from 0, and its number is one more. Scores are shown
    in the unit of ``measure``. The line is dashed, and numbers of points on it are bold: nothing scores as well at no
    more cost. ``measure`` and ``cost`` name the axes.
    """
    front = pareto(points, measure)
    ax.set_xscale("log")
    log_ticks(ax, points["cost"])
    rows = points.assign(**{name: measure.scale * points[name] for name in ("score", "low", "high")})
    front_line(rows[front], ax, "cost")
    ax.scatter(rows["cost"], rows["score"], s=40, facecolors=BLUE, edgecolors="#FFFFFF", linewidths=0.6, zorder=3)
    ax.vlines(rows["cost"], rows["low"], rows["high"], color=BLUE, linewidth=1, zorder=2)
    ax.set(xlabel=cost, ylabel=axis_label(measure))
    ax.margins(y=0.12)
    for place, x, y, beside in zip(rows.index, rows["cost"], rows["score"], _beside(rows, ax), strict=True):
        ax.annotate(
            f"{place + 1}", (x, y), (beside, 1), textcoords="offset points", ha="center", va="bottom", fontsize=8,
            fontweight="bold" if front[place] else "normal", zorder=4,
        )  # fmt: skip
    texts = []
    drawn = zip(rows["label"], points["cost"], *_columns(rows, "score", "low", "high"), strict=True)
    for label, x, y, low, high in drawn:
        y, low, high = (value / measure.scale for value in (y, low, high))
        score = estimate_text(measure, y, low, high) if np.isfinite(low) else measure.number(y)
        texts.append(f"{label}: {measure.label} {score}, {cost} {_number(x)}")
    hover(ax, rows["cost"], rows["score"], texts)
    return ax


def front_line(front: pd.DataFrame, ax: Axes, cost: str) -> None:
    """Draw the dashed line that joins the points of a Pareto front, columns ``cost`` and score, to the right edge."""
    steps = front.sort_values(cost)
    costs, scores = [*steps[cost], ax.get_xlim()[1]], [*steps["score"], steps["score"].iloc[-1]]
    ax.step(costs, scores, where="post", color=GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=1)


def _beside(rows: pd.DataFrame, ax: Axes) -> list[int]:
    """Return how far to the right of each point its number is drawn, in points of text; below 0 it is to the left.

    Points are drawn at their values. Of points that are close together the left ones have their numbers on the left.
    """
    low, high = ax.get_xlim()
    xs = np.log(rows["cost"].to_numpy()) / np.log(high / low)
    ys = rows["score"].to_numpy() / max(np.ptp(ax.get_ylim()), 1e-12)
    found: list[int] = []
    for place in range(len(rows)):
        beside = [n for n in range(len(rows)) if n != place and abs(xs[n] - xs[place]) < 2 * NEAR]
        on_its_right = sum((xs[n], n) > (xs[place], place) for n in beside)
        side = -1 if 2 * on_its_right > len(beside) else 1
        same = [n for n in beside if n < place and found[n] * side > 0 and abs(ys[n] - ys[place]) < NEAR]
        found.append(side * (7 + 8 * len(same)))
    return found


def confusion_matrix(shares: npt.NDArray[np.float64], label_names: Sequence[str], ax: Axes) -> Axes:
    """Draw ``shares`` (C, C): the share in [0, 1] of the items of each gold class (rows) predicted as each (columns).

    Rows of NaN, which are classes without items, stay blank. Up to 25 classes the percentages are written in the cells.
    """
    count = len(label_names)
    cells = [(row, column) for row in range(count) for column in range(count) if np.isfinite(shares[row, column])]
    values = [shares[cell] for cell in cells]
    squares = [[(x - 0.5, y - 0.5), (x + 0.5, y - 0.5), (x + 0.5, y + 0.5), (x - 0.5, y + 0.5)] for y, x in cells]
    texts = [
        f"gold {label_names[row]}, predicted {label_names[column]}: {100 * value:.2f} %"
        for (row, column), value in zip(cells, values, strict=True)
    ]
    colours = mpl.colormaps["magma_r"]
    faces = colours(values)
    ax.add_collection(PolyCollection(squares, facecolors=faces, edgecolors="face", linewidths=0.3, urls=texts))
    for (row, column), value, face in zip(cells, values, faces, strict=True) if count <= MAX_NUMBERED else ():
        # From WCAG's luminance 0.18 on dark text has more contrast; it is not black, which turns light on dark pages.
        ink = "#111111" if (face[:3] ** 2.2) @ (0.2126, 0.7152, 0.0722) > 0.18 else "#FFFFFF"
        ax.text(
            column,
            row,
            f"{100 * value:.1f}",
            color=ink,
            fontsize=min(9, 150 / count),
            ha="center",
            va="center_baseline",
        )
    names = [wrapped(name, 22, 2) for name in label_names]
    steep = max(map(len, names)) > 8 or count > 8
    size = min(8, 700 / count)
    turned: dict[str, Any] = {"rotation": 40, "rotation_mode": "anchor", "ha": "right"} if steep else {}
    ax.set_xticks(range(count), names, fontsize=size, **turned)
    ax.set_yticks(range(count), names, fontsize=size)
    ax.tick_params(length=0)
    ax.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal", xlabel="predicted", ylabel="gold")
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 100), colours)
    ax.figure.colorbar(scale, ax=ax, label="of the gold class (%)", shrink=0.8)
    return ax


def axis_label(measure: Metric) -> str:
    """Return the label of a metric's axis: its name, with ``(%)`` where it is in percent."""
    return f"{measure.label} (%)" if measure.unit == "%" else measure.label


def seed_spread(scores: pd.DataFrame, ax: Axes, measure: Metric = SHARE) -> Axes:
    """Draw a strip for each row of ``scores`` in the order given: every seed is a point, the mean a bar.

    ``scores`` has the columns row, seed and score. Points that would hide each other are set apart. ``measure`` names
    the axis and has the unit.
    """
    shown = scores.assign(score=measure.scale * scores["score"])
    rows = list(dict.fromkeys(shown["row"]))
    near = 0.015 * max(float(np.ptp(shown["score"])), 0.01)
    for position, row in enumerate(rows):
        own = shown[shown["row"] == row].sort_values(["score", "seed"])
        heights = position + _apart(own["score"].to_numpy(), near)
        ax.scatter(own["score"], heights, s=28, facecolors=BLUE, edgecolors="none", alpha=0.75, zorder=2)
        mean, std = own["score"].mean(), own["score"].std(ddof=1)
        ax.vlines(mean, position - 0.32, position + 0.32, color="#000000", linewidth=2, zorder=3)
        middle, spread, *values = measure.numbers(*(one / measure.scale for one in (mean, std, *own["score"])))
        spread = f" ± {spread}" if len(own) > 1 else ""
        hover(ax, [mean], [position + 0.38], [f"{row}: mean {middle}{spread} (n = {len(own)})"])
        texts = [f"{row}, seed {seed}: {value}" for seed, value in zip(own["seed"], values, strict=True)]
        hover(ax, own["score"], heights, texts)
    ax.set_yticks(range(len(rows)), [wrapped(row, 36, 2) for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=axis_label(measure))
    ax.grid(axis="x", color=GREY, alpha=0.3, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    return ax


def _apart(values: npt.NDArray[np.float64], near: float) -> npt.NDArray[np.float64]:
    """Return the offsets (N,) that set sorted values apart where they are within ``near`` of the first of their group.

    The offsets of a group are 0, up, down, further up, and so on; that of a value alone is 0.
    """
    offsets = np.zeros(len(values))
    start = 0
    for position, value in enumerate(values):
        if value - values[start] > near:
            start = position
        rank = position - start
        offsets[position] = min(0.12 * ((rank + 1) // 2), 0.36) * (-1 if rank % 2 else 1)
    return offsets


def _columns(frame: pd.DataFrame, *names: str) -> list[list[float]]:
    return [frame[name].tolist() for name in names]


def _number(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.3g}"


def log_ticks(ax: Axes, costs: pd.Series) -> None:
    """Give a logarithmic axis plain numbers and a span of at least a factor of 10, so that it has two ticks or more."""
    low, high = costs.min() / 1.5, costs.max() * 1.5
    widen = max(1.0, np.sqrt(10 / (high / low)))
    ax.set_xlim(low / widen, high * widen)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 50 else (1,)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}M" if value >= 1e6 else _number(value))
    ax.xaxis.set_minor_formatter(NullFormatter())
