"""Compare the rows of a score table over its datasets, and say which rows take no part and why."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare import Score
from analysis.statistics.across_datasets import (
    MIN_DATASETS,
    AcrossDatasets,
    Estimate,
    FloatArray,
    compare_across,
)
from analysis.statistics.this_set import Interval
from analysis.tables.table import TableSpec

Floor = Callable[[str, str], Mapping[str, float]]
"""A function of a dataset and a split that returns the scores of the majority class, by the name of the metric with
the split before it. It returns an empty mapping where no copy of the dataset is at hand."""


@dataclass(frozen=True)
class Across:
    """One score table's rows compared over its datasets."""

    metric: str
    rows: tuple[str, ...]
    """The labels of the rows that take part."""
    datasets: tuple[str, ...]
    """The display names of the datasets."""
    compared: AcrossDatasets | None
    """The comparison; None where there is none."""
    notes: tuple[str, ...]
    """Texts on why there is no comparison, or on the rows that take no part and what they lack."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row a row of the table, best mean rank first; empty where there is no comparison.

        The columns are ``row``, ``mean_rank``, ``win_rate`` and ``iqm``, each followed by ``_low`` and ``_high``, the
        95 % interval over new datasets and new seeds, and ``iqm_seeds_low`` and ``iqm_seeds_high``, the interval where
        seeds alone vary. A value that does not exist is NaN.
        """
        if self.compared is None:
            return pd.DataFrame()
        found = self.compared
        rows = []
        for number, label in enumerate(self.rows):
            values: dict[str, object] = {"row": label}
            for name, estimates in (
                ("mean_rank", found.mean_ranks),
                ("win_rate", found.win_rates),
                ("iqm", found.iqms),
            ):
                values |= _estimated(name, estimates[number] if estimates else None)
            over_seeds = found.iqms_over_seeds[number] if found.iqms_over_seeds else None
            values |= _bounds("iqm_seeds", over_seeds)
            rows.append(values)
        return pd.DataFrame(rows).sort_values("mean_rank", kind="stable", ignore_index=True)

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        shown = "" if self.compared is None else self.frame.to_html(index=False, float_format="{:.2f}".format)
        return shown + (f"<ul>{notes}</ul>" if notes else "")


def across(spec: TableSpec, floor: Floor) -> Across:
    """Return the comparison of the rows of ``spec``, whose columns are datasets, over these datasets.

    A row that lacks scores on a dataset, or has failed trials there, takes no part and is named. ``floor`` gives the
    scores of the majority class, from which scores are rescaled.
    """
    datasets = tuple(spec.columns.values())
    if len(datasets) < MIN_DATASETS:
        reason = (
            f"Rows are compared over at least {MIN_DATASETS} datasets, and there are {len(datasets)}. Each dataset "
            f"counts as one observation, and fewer than {MIN_DATASETS} support no conclusion on other datasets."
        )
        return Across(spec.metric, (), datasets, None, (reason,))
    complete, notes = [], []
    for row in spec.rows:
        missing = [heading for name, heading in spec.columns.items() if not _usable(row.scores.get(name))]
        if missing:
            notes.append(f"{row.label} takes no part: it lacks complete scores on {', '.join(missing)}")
        else:
            complete.append(row)
    rows = tuple(row.label for row in complete)
    if len(rows) < 2:
        there = "one has" if rows else "none has"
        reason = f"Rows are compared where at least two have scores on all {len(datasets)} datasets; {there}"
        return Across(spec.metric, rows, datasets, None, (reason, *notes))
    # Ranks and wins take higher values as better, so that scores get the sign of the metric of their column.
    scores = [[row.scores[name].measure.sign * _values(row.scores[name]) for name in spec.columns] for row in complete]
    floors, why_not = _floors(spec, complete[0].scores, floor)
    try:
        compared = compare_across(scores, floors)
    except ValueError as error:
        if floors is None:
            raise
        compared, why_not = compare_across(scores), str(error)
    notes += [f"there are no rescaled scores: {why_not}"] if why_not else []
    return Across(spec.metric, rows, datasets, compared, tuple(notes))


def _usable(score: Score | None) -> bool:
    return score is not None and score.taking_part is not None and bool(score.taking_part.values)


def _values(score: Score) -> FloatArray:
    assert score.sample is not None  # _usable has looked
    return np.array(score.sample.values, dtype=float)


def _floors(spec: TableSpec, scores: Mapping[str, Score], floor: Floor) -> tuple[FloatArray | None, str]:
    """Return the majority class's score on each dataset, or None and the reason for which there is none."""
    found = []
    for dataset, heading in spec.columns.items():
        cell = scores[dataset].cell
        if cell and not cell.has_classes:
            return None, f"{heading} has no majority class"
        known = floor(dataset, cell.split) if cell else {}
        value = known.get(f"{cell.split}_{scores[dataset].metric}") if cell else None
        if value is None:
            return None, f"no sweep keeps a copy of {heading}, which the score of its majority class takes"
        found.append(value)
    return np.array(found), ""


def _estimated(name: str, estimate: Estimate | None) -> dict[str, float]:
    value = float("nan") if estimate is None else estimate.value
    return {name: value, **_bounds(name, estimate.interval if estimate else None)}


def _bounds(name: str, interval: Interval | None) -> dict[str, float]:
    low, high = (float("nan"), float("nan")) if interval is None else (interval.low, interval.high)
    return {f"{name}_low": low, f"{name}_high": high}
