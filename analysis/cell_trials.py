"""The trials of cells, each with the epoch whose scores count and the values of that epoch and the trial's summary."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunekit.storage.paths import Place, location


class CellTrial(NamedTuple):
    """One trial of a cell. It is a tuple, since there are thousands."""

    seed: int
    folder: str
    """The trial's folder as text; ``path`` is the same as a path."""
    status: str | None
    """How the trial ended; None while it runs and where it was interrupted."""
    epoch: int | None
    """The epoch whose scores count; None where there is no such epoch."""
    scores: Mapping[str, float]
    """The values of the epoch's record and of the trial's summary by name, without those that are null."""
    error: str | None
    execution: str
    """The way of execution as JSON, which may change last digits: device, threads, packed or not."""
    num_epochs: int | None = None
    """The number of epochs that it has trained; None where it has not ended."""
    filled: bool = False
    """Whether the trial failed and has the scores of the majority class instead."""

    @property
    def path(self) -> Place:
        """The trial's folder."""
        return location(self.folder)


_NOT_SCORES = ("stamp", "epoch", "planned_epochs", "num_epochs", "best_epoch", "seed", "own", "score_test")


def cell_trials(trials: pd.DataFrame, chosen: pd.DataFrame) -> Iterable[CellTrial]:
    """Return each trial with its epoch of ``chosen``. Values that are null are left out of its scores."""
    place = pd.Index(chosen["path"]).get_indexer(trials["path"])  # -1, which takes the row of nulls, for none
    names, values = _numbers(chosen)
    values = np.vstack([values, np.full(len(names), np.nan)])[place]
    epochs = [int(epoch) if epoch == epoch else None for epoch in values[:, names.index("epoch")].tolist()]
    own_names, own_values = _numbers(trials)  # both have peak_memory_bytes: the trial's counts
    kept = [column for column, name in enumerate(names) if name not in (*_NOT_SCORES, *own_names)]
    own = [column for column, name in enumerate(own_names) if name not in _NOT_SCORES]
    names = [*(names[column] for column in kept), *(own_names[column] for column in own)]
    values = np.hstack([values[:, kept], own_values[:, own]])
    # Most columns are null in all trials or in none: only the others are looked at trial by trial.
    missing = np.isnan(values).sum(axis=0)
    whole, partial = np.flatnonzero(missing == 0), np.flatnonzero((missing > 0) & (missing < len(values)))
    whole_names, partial_names = ([names[column] for column in columns] for columns in (whole, partial))
    scores = [dict(zip(whole_names, row, strict=True)) for row in values[:, whole].tolist()]
    if partial_names:
        for known, row in zip(scores, values[:, partial].tolist(), strict=True):
            known |= {name: value for name, value in zip(partial_names, row, strict=True) if value == value}
    seeds = trials["seed"].to_numpy(np.int64).tolist()
    paths, statuses, errors, executions = (
        _texts(trials[name], absent)
        for name, absent in (("path", None), ("status", None), ("error", None), ("execution", "{}"))
    )
    num_epochs = [None if pd.isna(number) else int(number) for number in trials["num_epochs"]]
    return map(CellTrial, seeds, paths, statuses, epochs, scores, errors, executions, num_epochs)


def _numbers(frame: pd.DataFrame) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return the names of the K numeric columns, and their values (N, K), NaN for null."""
    names = [str(name) for name, kind in frame.dtypes.items() if kind.kind in "iuf"]
    return names, frame[names].to_numpy(np.float64, na_value=np.nan)


def _texts(column: pd.Series, absent: str | None) -> list[Any]:
    """Return the texts of a column, ``absent`` for null."""
    missing = column.isna().to_numpy()
    if missing.all():
        return [absent] * len(missing)
    values = column.to_numpy(object, copy=True)
    values[missing] = absent
    return values.tolist()
