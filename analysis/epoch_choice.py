"""Choose the epoch of a trial whose scores count: the last one, or the best on validation or on test."""

import pandas as pd

from analysis.sweep_records import SweepRecords
from tunekit.tasks import task_of

SELECTIONS = ("last", "best-val", "best-test")


def selected_epochs(records: SweepRecords, select: str) -> pd.DataFrame:
    """Return the chosen epoch of each trial that has one."""
    epochs = records.epochs
    if select == "last":
        # The epochs of a trial are together and in order. Comparing neighbours is faster than looking for duplicates.
        ends = epochs["path"].ne(epochs["path"].shift(-1)).to_numpy()
        return epochs.take(ends.nonzero()[0])
    if select == "best-val":
        best = records.trials[["path", "best_epoch"]].rename(columns={"best_epoch": "epoch"}).dropna()
        return epochs.merge(best, on=["path", "epoch"])
    scores = pd.Series(float("nan"), epochs.index)
    for dataset, trials in records.trials.groupby("dataset"):
        metric = task_of(str(dataset)).chooses_by
        own = epochs["path"].isin(trials["path"])
        if (name := f"test_{metric.name}") in epochs:
            scores[own] = metric.sign * epochs.loc[own, name].astype(float)
    scores = scores.dropna()
    return epochs.loc[scores.groupby(epochs["path"]).idxmax()]
