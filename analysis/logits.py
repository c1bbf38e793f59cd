"""Stored logits: those of one cell's completed trials on one split, read strictly and aligned over seeds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.cells import Cell
from analysis.predictions import FloatArray, IntArray, aligned_predictions, read_columns
from tunekit.storage.paths import Place
from tunekit.store.records import DamagedRecord

_TEXT, _WHOLE = (pa.string(), pa.large_string()), (pa.int32(), pa.int64())
_TYPES = {
    "split": _TEXT, "epoch": _WHOLE, "item_id": _TEXT, "group_id": _TEXT, "gold": _WHOLE, "predicted": _WHOLE,
    "logits": (pa.list_(pa.float16()), pa.list_(pa.float32())),
}  # fmt: skip
_COLUMNS = ["item_id", "group_id", "gold", "predicted", "logits"]


@dataclass(frozen=True)
class CellLogits:
    """The logits of S seeds on N items of C classes."""

    logits: FloatArray
    """(S, N, C), as they were stored: rounded to half precision."""
    gold: IntArray
    """(N,), in [0, C)."""
    groups: IntArray
    """(N,), codes from 0; items of one group are no independent observations."""
    items: tuple[str, ...]
    """The ids of the items."""

    @property
    def predicted(self) -> IntArray:
        """The predicted labels (S, N)."""
        return np.asarray(self.logits.argmax(axis=-1))


def logits_of(cell: Cell, split: str) -> CellLogits | None:
    """Return the logits of a cell's completed trials on ``split`` after the epoch that counts, items ordered by id.

    None is returned where the dataset's classes are not known, where no trial has completed, and where a trial keeps no
    logits of that split and epoch. Raises DamagedRecord where a file can't be read or holds logits that are not finite
    or not one a class, and ValueError where the trials were not scored on the same items.
    """
    frames = []
    for trial in cell.completed:
        frame = None if trial.epoch is None or trial.filled else _read(trial.path, split, trial.epoch)
        if frame is None:
            return None
        frames.append(frame)
    if not frames or cell.num_classes is None:
        return None
    gold, _, groups = aligned_predictions(frames)
    stacked = np.stack([np.stack(frame["logits"].to_list()) for frame in frames]).astype(np.float64)
    if stacked.shape[2] != cell.num_classes:
        raise DamagedRecord(
            f"{cell.completed[0].path / 'predictions.parquet'}: {stacked.shape[2]} logits an item for "
            f"{cell.num_classes} classes"
        )
    return CellLogits(stacked, gold, groups, tuple(frames[0]["item_id"]))


def _read(folder: Place, split: str, epoch: int) -> pd.DataFrame | None:
    """Return one trial's rows in the order of their ids, ``logits`` an array (C,) each; None where it keeps none."""
    path = folder / "predictions.parquet"
    if not path.exists():
        return None
    frame = read_columns(path, _TYPES, _COLUMNS, [("split", "==", split), ("epoch", "==", epoch)])
    if frame.empty:
        return None
    if len({len(values) for values in frame["logits"]}) != 1:
        raise DamagedRecord(f"{path}: {split}, epoch {epoch}: the items have different numbers of logits")
    if not np.isfinite(np.concatenate(frame["logits"].to_list())).all():
        raise DamagedRecord(f"{path}: {split}, epoch {epoch}: a logit is not finite")
    return frame.sort_values("item_id", ignore_index=True)
