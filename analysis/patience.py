"""Simulated early stopping: what a patience would have given and saved, from the recorded epochs alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.cells import Cell
from analysis.statistics.patience import stopped
from analysis.statistics.this_set import Interval, Sample, t_interval
from analysis.sweep_records import SweepRecords

PATIENCES = (1, 2, 3)


@dataclass(frozen=True)
class SimulatedPatience:
    """One cell's completed trials as if they had been stopped early."""

    patience: int
    """The number of epochs without a better validation score after which training ends."""
    n: int
    """The number of trials."""
    epochs: float
    """The mean number of epochs trained."""
    saved: float
    """The share of the training time that is saved, in [0, 1]."""
    score: float
    """The mean test score of the epoch that is kept, in [0, 1]."""
    change: float
    """The mean of that score minus the score of the best epoch on validation of the whole run."""
    interval: Interval | None
    """The 95 % interval of ``change`` over seeds, on these test items: Student's t on the differences of single trials.
    None below three trials, and where all differences are equal."""


def simulated_patience(
    records: SweepRecords, cell: Cell, metric: str | None = None, patiences: Sequence[int] = PATIENCES
) -> list[SimulatedPatience]:
    """Return what each patience would have done to the completed trials of ``cell``.

    A patience that stops no trial early is left out. The list is empty where a trial lacks a validation or a test score
    of an epoch. ``metric`` is the test score that is shown (default: the task's primary one, which decides on
    validation).
    """
    primary = cell.task.primary
    columns = ["path", "epoch", f"val_{primary}", f"test_{metric or primary}", "epoch_seconds"]
    if not set(columns) <= set(records.epochs):
        return []
    paths = [trial.folder for trial in cell.completed if not trial.filled]
    epochs = records.epochs.loc[records.epochs["path"].isin(paths), columns]
    if not paths or epochs.isna().to_numpy().any() or epochs["path"].nunique() != len(paths):
        return []
    found = []
    for patience in patiences:
        trained, shares, scores, changes = [], [], [], []
        for _, own in epochs.groupby("path"):
            own = own.sort_values("epoch")
            by_val, test, seconds = (own[name].to_numpy() for name in columns[2:])
            end = stopped(by_val.tolist(), patience)
            trained.append(end.last)
            shares.append(1 - seconds[: end.last].sum() / seconds.sum())
            scores.append(test[end.kept - 1])
            changes.append(test[end.kept - 1] - test[by_val.argmax()])
        if max(shares) <= 0:
            continue
        change = Sample.of(changes)
        found.append(
            SimulatedPatience(
                patience=patience,
                n=len(trained),
                epochs=Sample.of(trained).mean,
                saved=Sample.of(shares).mean,
                score=Sample.of(scores).mean,
                change=change.mean,
                interval=_interval(change),
            )
        )
    return found


def _interval(change: Sample) -> Interval | None:
    if change.n < 3 or not change.std:
        return None
    return t_interval(change.mean, change.std / change.n**0.5, change.n - 1, 0.95)
