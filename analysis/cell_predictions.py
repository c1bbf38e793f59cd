"""The stored predictions of a cell's trials, aligned over its seeds."""

from dataclasses import dataclass

from analysis.cells import Cell
from analysis.predictions import aligned_predictions, bits_of, read_predictions
from analysis.statistics.new_text import SeedPredictions
from tunekit.tasks.bio import types_of

NO_PREDICTIONS = "no predictions stored"


@dataclass(frozen=True)
class CellPredictions:
    """The predictions of a cell, with the items in the order of their ids."""

    predictions: SeedPredictions
    items: tuple[str, ...]


def predictions_of(cell: Cell) -> CellPredictions:
    """Return the stored predictions of a cell's completed trials.

    Raises ValueError where a trial keeps none or the trials were not scored on the same items, and DamagedRecord, a
    kind of ValueError, where predictions can't be read.
    """
    if any(trial.filled for trial in cell.completed):
        raise ValueError("failed trials count with the score of the majority class, of which no predictions are stored")
    frames = [
        None if trial.epoch is None else read_predictions(trial.path, cell.split, trial.epoch, form=cell.task.form)
        for trial in cell.completed
    ]
    kept = [frame.sort_values("item_id", ignore_index=True) for frame in frames if frame is not None]
    types = types_of(cell.label_names) if cell.task.form == "tags" else ()
    unnamed = (cell.has_classes and cell.num_classes is None) or (cell.task.form == "tags" and not types)
    if unnamed or len(kept) != len(frames) or not kept:
        raise ValueError(NO_PREDICTIONS)
    gold, predicted, groups = aligned_predictions(kept)
    num_classes = cell.num_classes or len(types)
    if cell.task.form == "labels":
        gold, predicted = bits_of(gold), bits_of(predicted)
        num_classes = gold.shape[1]
    return CellPredictions(SeedPredictions(gold, predicted, groups, num_classes, types), tuple(kept[0]["item_id"]))
