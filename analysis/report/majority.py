"""The scores of train's majority class, with which failed trials are filled in on request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from analysis.cells import FAILURES, Cell
from analysis.predictions import METRICS, per_class_f1
from analysis.report.audit import read_copy
from analysis.sweep_records import SweepRecords
from tunekit.errors import UserError
from tunekit.tasks import task_of


def majority_scores(records: SweepRecords) -> Callable[[str, str], Mapping[str, float]]:
    """Return a function of a dataset and a split that returns the scores of train's majority class on that split.

    The names of the scores have the split before them, such as ``test_macro_f1``. The mapping is empty where no sweep
    keeps a copy of the dataset that has rows of the split. The function raises DamagedRecord where the copy is damaged.
    """

    @cache
    def scores(dataset: str, split: str) -> Mapping[str, float]:
        for store in records.stores:
            for path in store.dataset_descriptions():
                facts, rows = read_copy(path)
                if facts.name == dataset and task_of(dataset).form == "class":
                    splits = dict.fromkeys([split, *(["val"] if (rows["split"] == "val").any() else [])])
                    found = [_majority(rows, one, len(facts.label_names)) for one in splits]
                    return {name: value for scores in found for name, value in scores.items()}
        return {}

    return scores


def filled_with_majority(records: SweepRecords, found: Sequence[Cell]) -> list[Cell]:
    """Return ``found`` with every failed trial scored as the majority class.

    Raises UserError where the sweep keeps no copy of a dataset that this needs, and DamagedRecord where the copy is
    damaged.
    """
    majority = majority_scores(records)

    def scores(dataset: str, split: str) -> Mapping[str, float]:
        known = majority(dataset, split)
        if task_of(dataset).form != "class":
            raise UserError(f"--missing majority: {dataset} has no classes, so no majority class; leave it out")
        if not known:
            raise UserError(
                f"--missing majority: no sweep keeps a copy of {dataset} with {split} rows; leave it out, or give that "
                "sweep too"
            )
        return known

    result = []
    for cell in found:
        trials = [
            trial._replace(filled=True, scores=scores(cell.dataset, cell.split)) if trial.status in FAILURES else trial
            for trial in cell.trials
        ]
        result.append(replace(cell, trials=tuple(trials)))
    return result


def _majority(rows: pd.DataFrame, split: str, num_classes: int) -> dict[str, float]:
    """Return every metric of train's majority class on ``split``, with the split before its name.

    The mapping is empty where there are no rows of the split.
    """
    usual = int(rows.loc[rows["split"] == "train", "label"].mode()[0])
    gold = rows.loc[rows["split"] == split, "label"].to_numpy()
    if not len(gold):
        return {}
    predicted = np.full(len(gold), usual)
    found = {name: score(gold, predicted, num_classes) for name, score in METRICS.items()}
    found |= {f"f1:{n}": float(value) for n, value in enumerate(per_class_f1(gold, predicted, num_classes))}
    return {f"{split}_{name}": value for name, value in found.items()}
