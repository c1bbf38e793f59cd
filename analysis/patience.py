"""Simulated early stopping: the scores and the time that a patience would have given, from the recorded epochs."""

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
    It is None below three trials, and where all differences are equal."""
    num_stopped: int
    """The number of trials that end before their last epoch."""


def simulated_patience(
    records: SweepRecords, cell: Cell, metric: str | None = None, patiences: Sequence[int] = PATIENCES
) -> list[SimulatedPatience]:
    """Return the outcome of each patience for the completed trials of ``cell``.

    ``metric`` is the test score that is shown (default: the task's primary one, which decides on validation). Raises
    ValueError, which says why, where the outcome can't be told.
    """
    primary, sign = cell.task.primary, cell.task.chooses_by.sign
    needed = {
        f"val_{primary}": "validation scores",
        f"test_{metric or primary}": "test scores",
        "epoch_seconds": "times",
    }
    columns = ["path", "epoch", *needed]
    paths = [trial.folder for trial in cell.completed if not trial.filled]
    if not paths:
        raise ValueError("no trial has completed")
    epochs = records.epochs.reindex(columns=columns)
    epochs = epochs[epochs["path"].isin(paths)]
    if epochs["path"].nunique() != len(paths):
        raise ValueError("a trial has no record of its epochs")
    lacking = [what for name, what in needed.items() if epochs[name].isna().any()]
    if lacking:
        raise ValueError(f"epochs without {' and '.join(lacking)}")
    found = []
    for patience in patiences:
        trained, shares, scores, changes, early = [], [], [], [], 0
        for _, run in epochs.sort_values("epoch").groupby("path"):
            by_val, test, seconds = (run[name].to_numpy() for name in needed)
            by_val = sign * by_val
            end = stopped(by_val.tolist(), patience)
            early += end.last < len(run)
            trained.append(end.last)
            shares.append(1 - seconds[: end.last].sum() / seconds.sum())
            scores.append(test[end.kept - 1])
            changes.append(test[end.kept - 1] - test[by_val.argmax()])
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
                num_stopped=early,
            )
        )
    return found


def _interval(change: Sample) -> Interval | None:
    if change.n < 3 or not change.std:
        return None
    return t_interval(change.mean, change.std / change.n**0.5, change.n - 1, 0.95)
