"""Learning curves side by side: a column a cell, its loss above its scores, all on the same axes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.curves import panels, share_limits
from analysis.plate import wrapped

MAX_COLUMNS = 5


@dataclass(frozen=True)
class Column:
    """One cell's curves; ``steps`` and ``epochs`` as ``curves.panels`` takes them."""

    label: str
    steps: pd.DataFrame | None
    epochs: pd.DataFrame
    split: str


def overview(columns: Sequence[Column], title: str) -> Figure:
    """``columns`` side by side, beyond five in several rows; losses over epochs where one lacks steps."""
    if any(column.steps is None for column in columns):
        columns = [replace(column, steps=None) for column in columns]
    bands = ceil(len(columns) / MAX_COLUMNS)
    width = ceil(len(columns) / bands)
    figure = Figure(figsize=(2.2 * width + 0.8, 4.2 * bands + 0.8), layout="constrained")
    grid = figure.subplots(2 * bands, width, squeeze=False)
    pairs = [list(grid[2 * band : 2 * band + 2, place]) for band in range(bands) for place in range(width)]
    for number, (column, pair) in enumerate(zip(columns, pairs, strict=False)):
        panels(column.steps, column.epochs, column.split, pair)
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
