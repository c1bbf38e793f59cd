"""The stored logits of a cell's completed trials on one split, read strictly and aligned over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.cells import Cell
from analysis.predictions import FloatArray, IntArray, aligned_predictions, read_predictions
from tunekit.store.records import DamagedRecord
from tunekit.store.trial_files import PREDICTIONS_FILE


@dataclass(frozen=True)
class CellLogits:
    """The logits of S seeds on N items of C classes."""

    logits: FloatArray
    """(S, N, C), as they were stored: rounded to half precision."""
    gold: IntArray
    """(N,), in [0, C)."""
    predicted: IntArray
    """The recorded labels (S, N). The logits can't always give them: two that are equal once rounded had an order."""
    groups: IntArray
    """The codes (N,) of the items' groups, from 0. Items of one group are not independent observations."""
    items: tuple[str, ...]
    """The ids of the items."""


def logits_of(cell: Cell, split: str) -> CellLogits | None:
    """Return the logits of a cell's completed trials on ``split`` after the epoch that counts, items ordered by id.

    None is returned where the dataset's classes are not known, where no trial has completed, where a trial keeps no
    logits of that split and epoch, and where the trials were not scored on the same items. Raises DamagedRecord where a
    file can't be read or holds logits that are not finite or not one a class.
    """
    frames = []
    for trial in cell.completed:
        known = trial.epoch is not None and not trial.filled
        frame = read_predictions(trial.path, split, trial.epoch or 0, logits=True) if known else None
        if frame is None:
            return None
        frames.append(frame.sort_values("item_id", ignore_index=True))
    if not frames or cell.num_classes is None:
        return None
    try:
        gold, predicted, groups = aligned_predictions(frames)
    except ValueError:
        return None  # scored on different items, which the section on intervals says
    stacked = np.stack([np.stack(frame["logits"].to_list()) for frame in frames]).astype(np.float64)
    if stacked.shape[2] != cell.num_classes:
        raise DamagedRecord(
            f"{cell.completed[0].path / PREDICTIONS_FILE}: {stacked.shape[2]} logits an item for "
            f"{cell.num_classes} classes"
        )
    return CellLogits(stacked, gold, predicted, groups, tuple(frames[0]["item_id"]))


def with_logits(found: Sequence[Cell]) -> list[tuple[Cell, CellLogits]]:
    """Return the cells that are not a search's and have logits on the split that they scored, with these logits.

    Raises DamagedRecord as ``logits_of``.
    """
    shown = ((cell, logits_of(cell, cell.split)) for cell in found if not cell.searched)
    return [(cell, logits) for cell, logits in shown if logits is not None]
