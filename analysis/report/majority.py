"""``--missing majority``: failed trials count with the score of a model that always says train's commonest class."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from analysis.cells import FAILURES, Cell
from analysis.predictions import METRICS, per_class_f1
from analysis.report.audit import read_copy
from analysis.results import Study
from tunekit.store.result_store import UserError


def filled_with_majority(study: Study, found: Sequence[Cell]) -> list[Cell]:
    """``found``, every failed trial of it scored as the majority class.

    Raises UserError where the sweep keeps no copy of a dataset that it takes, and DamagedRecord where that is damaged.
    """

    @cache
    def scores(dataset: str, split: str) -> dict[str, float]:
        for store in study.stores:
            for path in store.copies():
                facts, rows = read_copy(path)
                if facts.name == dataset:
                    return _majority(rows, split, len(facts.label_names))
        raise UserError(f"--missing majority: no sweep keeps a copy of {dataset}; leave it out, or give that sweep too")

    result = []
    for cell in found:
        runs = [
            run._replace(filled=True, scores=scores(cell.dataset, cell.split)) if run.status in FAILURES else run
            for run in cell.runs
        ]
        result.append(replace(cell, runs=tuple(runs)))
    return result


def _majority(rows: pd.DataFrame, split: str, num_classes: int) -> dict[str, float]:
    """Every metric of train's majority class on ``split``, by its name in EpochRecord or with the split before it."""
    usual = int(rows.loc[rows["split"] == "train", "label"].mode()[0])
    gold = rows.loc[rows["split"] == split, "label"].to_numpy()
    if not len(gold):
        raise UserError(f"--missing majority: the dataset's copy has no {split} rows; leave it out")
    predicted = np.full(len(gold), usual)
    found = {name: score(gold, predicted, num_classes) for name, score in METRICS.items()}
    found |= {f"f1:{n}": float(value) for n, value in enumerate(per_class_f1(gold, predicted, num_classes))}
    return {f"{split}_{name}": value for name, value in found.items()}
