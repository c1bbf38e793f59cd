"""A stored study's choice: its scores, the standard error of its dev set, and what these allow to choose."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tunekit.errors import UserError
from tunekit.search.choosing import Candidate, Chosen, choose, item_standard_error
from tunekit.search.outcome import running_best
from tunekit.store.records import read_predictions
from tunekit.store.search_records import SearchStudy, SearchTrial, TrialState

if TYPE_CHECKING:
    from tunekit.store.result_store import ResultStore, StoredTrial


def weigh(store: "ResultStore", study: SearchStudy) -> Chosen | None:
    """The choice of ``study``; None where no configuration completed. Raises UserError, DamagedRecord."""
    done = {trial.number: trial for trial in study.trials if trial.state is TrialState.COMPLETE and trial.values}
    if not done:
        return None
    metric = study.objectives[0]
    candidates = [
        Candidate(number, trial.values[0], _stored(store, trial)[0].summary.num_trainable_params)
        for number, trial in done.items()
    ]
    best = max(candidates, key=lambda one: (one.score, -one.number))
    items = [_best_items(trial, metric) for trial in _stored(store, done[best.number])]
    try:
        error = item_standard_error(items, metric, num_labels=len(items[0]["logits"].iloc[0]) if len(items[0]) else 0)
    except ValueError as problem:
        raise UserError(f"{store.root}: {problem}") from problem
    return choose(candidates, error)


def _stored(store: "ResultStore", trial: SearchTrial) -> "list[StoredTrial]":
    folders = [store.find(trial_id) for trial_id in trial.trial_ids]
    if None in folders:
        raise UserError(
            f"{store.trials_folder} lacks trials that search.json names ({', '.join(trial.trial_ids)}); restore them"
        )
    return [store.read(folder) for folder in folders]


def _best_items(trial: "StoredTrial", metric: str) -> pd.DataFrame:
    """The validation predictions of the epoch with the best ``metric``, the earliest of equals."""
    best = int(np.argmax(running_best(trial.epochs, metric))) + 1
    rows = read_predictions(trial.folder)
    return rows[(rows["split"] == "val") & (rows["epoch"] == best)]
