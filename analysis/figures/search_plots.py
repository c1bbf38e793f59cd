"""Plots of a search: data and an ``ax`` in, ``ax`` out. Scores are in the objective's unit, percent if it is a score.

Trials are frames with a row a trial: ``number``, ``score`` (NaN for a failed one), ``state`` (complete, pruned or
failed) and the columns that the plot names. Only complete trials count with their score; pruned ones are hollow, at the
score that they had when they were stopped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.tri import Triangulation

from analysis.figures.curves import line_style
from analysis.figures.drawing import hover, wrapped
from analysis.figures.plots import BLUE, GREY, front_line, log_ticks
from analysis.names import rounded
from tunekit.parsing import number

BANDWIDTH = 0.2
"""The bandwidth of the running mean, in factors of ten of the learning rate."""
LATER = "viridis"


def sensitivity(
    series: Mapping[str, pd.DataFrame], ranges: Mapping[str, tuple[float, float]], ax: Axes, score: str, margin: str
) -> Axes:
    """Draw the score over ``learning_rate`` for each of ``series``: points, running mean, band of one std.

    A bar below them is the range of learning rates in ``ranges``, those within ``margin`` of the best of the series;
    the label of the series names it too.
    """
    for place, (name, trials) in enumerate(series.items()):
        own = line_style(place)
        complete, pruned = trials[trials["state"] == "complete"], trials[trials["state"] == "pruned"]
        ax.scatter(complete["learning_rate"], complete["score"], s=22, color=own.colour, marker=own.marker, zorder=3)
        ax.scatter(
            pruned["learning_rate"], pruned["score"], s=22, facecolors="none", edgecolors=own.colour, alpha=0.5,
            marker=own.marker, zorder=2,
        )  # fmt: skip
        label = name
        if len(complete):
            grid, mean, std = running_mean(complete["learning_rate"].to_numpy(), complete["score"].to_numpy())
            ax.fill_between(grid, mean - std, mean + std, color=own.colour, alpha=0.13, linewidth=0)
            ends = dict.fromkeys(rounded(end) for end in ranges[name])
            label = f"{name}: within {margin} of its best at {' to '.join(ends)}"
            height = 0.02 + 0.022 * place
            ax.plot(
                ranges[name], [height, height], color=own.colour, linewidth=3, solid_capstyle="butt",
                marker="|", transform=ax.get_xaxis_transform(),
            )  # fmt: skip
            ax.plot(grid, mean, color=own.colour, linestyle=own.style, linewidth=1.5, label=label)
        _hover(ax, trials, trials["learning_rate"], name)
    ax.set_xscale("log")
    ax.set(xlabel="learning rate", ylabel=score)
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.03 * len(series) * (high - low), high)
    return ax


def running_mean(
    rates: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return learning rates (100,), and the weighted mean and standard deviation of the scores around each.

    ``scores`` (N,) are those at ``rates`` (N,). The weights are those of Nadaraya (1964) and Watson (1964), by a
    Gaussian of ``BANDWIDTH`` over log10 of the rate. Mean and deviation are NaN where no rate is within two bandwidths.
    """
    logs = np.log10(rates)
    grid = np.linspace(logs.min(), logs.max(), 100)
    distances = np.abs(grid[:, None] - logs) / BANDWIDTH  # (100, N)
    weights = np.exp(-0.5 * distances**2)
    weights /= weights.sum(axis=1, keepdims=True)
    weights[distances.min(axis=1) > 2] = np.nan
    mean = weights @ scores
    variance = (weights * (scores - mean[:, None]) ** 2).sum(axis=1)
    return 10**grid, mean, np.sqrt(variance)


def history(trials: pd.DataFrame, ax: Axes, score: str, *, maximise: bool = True) -> Axes:
    """Draw the score of each trial in order, and the best complete one so far.

    A failed trial is a cross at the bottom.
    """
    complete = trials[trials["state"] == "complete"].sort_values("number")
    best = complete["score"].cummax() if maximise else complete["score"].cummin()
    ax.step(complete["number"], best, where="post", color=BLUE, linewidth=1.5, label="best so far")
    _states(ax, trials, trials["number"])
    _hover(ax, trials, trials["number"], "")
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set(xlabel="trial", ylabel=score)
    return ax


def slice_of(trials: pd.DataFrame, name: str, ax: Axes, label: str, *, log: bool) -> Axes:
    """Draw the score over the parameter ``name``, later trials lighter, on a logarithmic axis where ``log``.

    Values that are no numbers are drawn side by side, in the order of their appearance.
    """
    places, labels = _positions(trials[name])
    complete = trials["state"] == "complete"
    ax.scatter(
        places[complete], trials["score"][complete], c=trials["number"][complete], cmap=LATER, s=24, edgecolors=GREY,
        linewidths=0.4, vmin=trials["number"].min(), vmax=trials["number"].max(), zorder=3,
    )  # fmt: skip
    pruned = trials["state"] == "pruned"
    ax.scatter(places[pruned], trials["score"][pruned], s=20, facecolors="none", edgecolors=GREY, zorder=2)
    _axis(ax, trials[name], labels, log=log)
    _hover(ax, trials, places, "")
    ax.set_xlabel(label)
    return ax


def contour(trials: pd.DataFrame, names: tuple[str, str], axes_log: tuple[bool, bool], ax: Axes, score: str) -> Axes:
    """Draw the score over two numeric parameters, complete trials alone: linear between them, nothing beyond them.

    Trials of one place are averaged. Raises ValueError where the trials span no area.
    """
    complete = trials[trials["state"] == "complete"]
    means = complete.groupby(list(names))["score"].mean().reset_index()
    scaled = [
        np.log10(means[name].to_numpy(dtype=float)) if log else means[name].to_numpy(dtype=float)
        for name, log in zip(names, axes_log, strict=True)
    ]
    widths = [np.ptp(values) for values in scaled]
    unit = [(values - values.min()) / (width or 1) for values, width in zip(scaled, widths, strict=True)]
    if len(means) < 3 or np.linalg.matrix_rank(np.column_stack(unit) - [values[0] for values in unit], tol=1e-6) < 2:
        raise ValueError("the trials span no area")
    triangles = Triangulation(*unit).triangles
    drawn = Triangulation(means[names[0]], means[names[1]], triangles)
    filled = ax.tricontourf(drawn, means["score"], levels=12, cmap="cividis")
    ax.scatter(
        complete[names[0]], complete[names[1]], s=14, color="#FFFFFF", edgecolors="#000000", linewidths=0.6,
        clip_on=False, zorder=3,
    )  # fmt: skip
    for name, log, set_scale in zip(names, axes_log, (ax.set_xscale, ax.set_yscale), strict=True):
        set_scale("log" if log else "linear")
        _ticks(ax.xaxis if name == names[0] else ax.yaxis, complete[name])
    texts = [
        f"trial {row['number']}: {names[0]} {number(row[names[0]])}, {names[1]} {number(row[names[1]])}, "
        f"{score} {row['score']:.2f}"
        for row in complete.to_dict("records")
    ]
    hover(ax, complete[names[0]], complete[names[1]], texts)
    ax.figure.colorbar(filled, ax=ax, label=score)
    return ax


def importance_bars(shares: Mapping[str, float], ax: Axes) -> Axes:
    """Draw a bar for each parameter's share in [0, 1], shown in percent, the first on top."""
    labels = [wrapped(name.replace("_", " "), 24, 2) for name in shares]
    widths = [100 * share for share in shares.values()]
    ax.barh(range(len(widths)), widths, color=BLUE, height=0.6)
    for place, width in enumerate(widths):
        ax.annotate(f"{width:.0f} %", (width, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_yticks(range(len(widths)), labels)
    ax.set(ylim=(len(widths) - 0.5, -0.5), xlim=(0, 1.15 * max(widths)), xlabel="importance (%)")
    ax.tick_params(axis="y", length=0)
    return ax


def expected_curves(series: Mapping[str, pd.DataFrame], ax: Axes, score: str) -> Axes:
    """Draw the mean of the best of n random trials, and a band of one std, for each of ``series`` (n, mean, std)."""
    for place, (name, curve) in enumerate(series.items()):
        own = line_style(place)
        ax.plot(
            curve["n"], curve["mean"], color=own.colour, linestyle=own.style, marker=own.marker, markersize=3.5,
            label=name,
        )  # fmt: skip
        ax.fill_between(
            curve["n"], curve["mean"] - curve["std"], curve["mean"] + curve["std"], color=own.colour, alpha=0.13,
            linewidth=0,
        )  # fmt: skip
        texts = [
            f"{name}: best of {n} random trials {mean:.2f} ± {std:.2f}"
            for n, mean, std in curve[["n", "mean", "std"]].itertuples(index=False)
        ]
        hover(ax, curve["n"], curve["mean"], texts)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set(xlabel="random trials", ylabel=f"expected best {score}")
    ax.legend(fontsize=8, frameon=False)
    return ax


def objectives(trials: pd.DataFrame, ax: Axes, names: tuple[str, str]) -> Axes:
    """Draw the complete trials by two objectives, ``score`` over ``second``.

    A dashed line joins those on the ``front``, which have their numbers beside them.
    """
    ax.scatter(trials["second"], trials["score"], s=36, color=BLUE, zorder=3)
    front = trials[trials["front"]]
    for which, x, y in front[["number", "second", "score"]].itertuples(index=False):
        ax.annotate(f"{which}", (x, y), (4, 5), textcoords="offset points", fontsize=8, fontweight="bold")
    texts = [
        f"trial {which}: {names[0]} {y:.2f}, {names[1]} {number(float(x))}"
        for which, x, y in trials[["number", "second", "score"]].itertuples(index=False)
    ]
    hover(ax, trials["second"], trials["score"], texts)
    if trials["second"].min() > 0:
        ax.set_xscale("log")
        log_ticks(ax, trials["second"])
    front_line(front, ax, "second")
    ax.set(xlabel=names[1], ylabel=names[0])
    ax.margins(y=0.1)  # room for the number above the best point
    return ax


def _states(ax: Axes, trials: pd.DataFrame, places: pd.Series) -> None:
    """Draw a complete trial as a filled point, a pruned one as a hollow one, a failed one as a cross at the bottom."""
    marks = {"complete": (BLUE, BLUE), "pruned": ("none", GREY)}
    for state, (face, edge) in marks.items():
        own = trials["state"] == state
        if own.any():
            ax.scatter(places[own], trials["score"][own], s=26, facecolors=face, edgecolors=edge, label=state, zorder=3)
    failed = trials["state"] == "failed"
    if failed.any():
        ax.scatter(
            places[failed], np.full(failed.sum(), 0.02), s=30, marker="x", color="#D55E00", label="failed",
            transform=ax.get_xaxis_transform(), zorder=3,
        )  # fmt: skip
    ax.legend(fontsize=8, frameon=False)


def _hover(ax: Axes, trials: pd.DataFrame, places: pd.Series, name: str) -> None:
    scored = trials["score"].notna()
    prefix = f"{name}, " if name else ""
    texts = [
        f"{prefix}trial {row['number']} ({row['state']}): {row['score']:.2f}, {row['label']}"
        for row in trials[scored].to_dict("records")
    ]
    hover(ax, places[scored], trials["score"][scored], texts)


def _positions(values: pd.Series) -> tuple[pd.Series, list[str] | None]:
    """Return the places of values on an axis, and their labels where they are no numbers."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return values.astype(float), None
    labels = list(dict.fromkeys(map(str, values)))
    return values.map(lambda value: float(labels.index(str(value)))), labels


def _axis(ax: Axes, values: pd.Series, labels: Sequence[str] | None, *, log: bool) -> None:
    if labels is not None:
        ax.set_xticks(range(len(labels)), [wrapped(label, 12, 2) for label in labels])
        ax.set_xlim(-0.5, len(labels) - 0.5)
        return
    ax.set_xscale("log" if log else "linear")
    _ticks(ax.xaxis, values)


def _ticks(axis: object, values: pd.Series) -> None:
    """Put ticks at the values themselves where there are few."""
    own = sorted(set(values))
    if len(own) <= 8:
        axis.set_major_locator(FixedLocator(own))  # type: ignore[attr-defined]
        axis.set_major_formatter(lambda value, _: number(float(value)))  # type: ignore[attr-defined]
        axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]
        axis.set_minor_formatter(NullFormatter())  # type: ignore[attr-defined]
