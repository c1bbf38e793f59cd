"""Read the stored predictions of a trial strictly, score them as in training, and align them over seeds."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.names import LABELS
from analysis.statistics.resampling import STATISTICS, Statistic
from tunekit.storage.paths import Place
from tunekit.store.records import DamagedRecord
from tunekit.store.trial_files import PREDICTIONS_FILE
from tunekit.tasks.base import LabelForm
from tunekit.tasks.bio import is_tag
from tunekit.tasks.label_counts import counts_of_labels, f1_of

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float64]

MAX_ROWS, MAX_BYTES = 20_000_000, 2**33
"""The limits of an unpacked parquet file: a small file can unpack to fill any memory."""
COLUMNS = ["item_id", "group_id", "gold", "predicted"]
TEXT, WHOLE, NUMBER = (pa.string(), pa.large_string()), (pa.int32(), pa.int64()), (pa.float64(),)
_TYPES = {"split": TEXT, "epoch": WHOLE, "item_id": TEXT, "group_id": TEXT, "gold": WHOLE, "predicted": WHOLE}
_LOGITS = {"logits": (pa.list_(pa.float16()), pa.list_(pa.float32()))}


def read_predictions(
    folder: Place, split: str, epoch: int, logits: bool = False, form: LabelForm = "class"
) -> pd.DataFrame | None:
    """Return one trial's predictions on ``split`` after ``epoch``; None where the trial keeps none of them.

    The columns are item_id, group_id, gold and predicted, with one row for each item, in the file's order. With
    ``logits`` there is also a column of arrays (C,) of them. ``form`` is the form of the task's labels: gold and
    predicted are classes, numbers, texts with a 0 or 1 for each label, or texts with a tag for each word.

    Raises DamagedRecord, which names the file, where it can't be read, a column is missing or of another type, a value
    is missing, a label is negative or not finite, an item occurs twice, or requested logits are not finite or not of
    one length.
    """
    path = folder / PREDICTIONS_FILE
    if not path.exists():
        return None
    extra = _LOGITS if logits else {}
    kind = {"class": WHOLE, "number": NUMBER, "labels": TEXT, "tags": TEXT}[form]
    types = _TYPES | {"gold": kind, "predicted": kind}
    frame = read_columns(path, {**types, **extra}, [*COLUMNS, *extra], {"split": split, "epoch": epoch})
    if frame.empty:
        return None
    if frame["item_id"].duplicated().any():
        raise DamagedRecord(f"{path}: {split}, epoch {epoch}: an item stands there twice")
    if (wrong := _wrong_labels(frame, form)) is not None:
        raise DamagedRecord(f"{path}: {split}, epoch {epoch}: {wrong}")
    if logits:
        if len({len(values) for values in frame["logits"]}) != 1:
            raise DamagedRecord(f"{path}: {split}, epoch {epoch}: the items have different numbers of logits")
        if not np.isfinite(np.concatenate(frame["logits"].to_list())).all():
            raise DamagedRecord(f"{path}: {split}, epoch {epoch}: a logit is not finite")
    return frame


def _wrong_labels(frame: pd.DataFrame, form: LabelForm) -> str | None:
    """Return what is wrong with gold and predicted as labels of ``form``; None where nothing is."""
    values = frame[["gold", "predicted"]]
    if form == "number":
        return None if np.isfinite(values.to_numpy()).all() else "a number is not finite"
    if form == "labels":
        return None if _are_bits(frame) else "labels are not texts of 0 and 1, all of one length"
    if form == "tags":
        return None if _are_tags(frame) else "gold and predicted are not as many tags"
    return "a label is negative" if values.to_numpy().min() < 0 else None


def _are_bits(frame: pd.DataFrame) -> bool:
    """Return whether gold and predicted are texts such as ``0110``, all of one length above 0."""
    texts = {*frame["gold"], *frame["predicted"]}
    return len({len(text) for text in texts}) == 1 and all(text and set(text) <= {"0", "1"} for text in texts)


def _are_tags(frame: pd.DataFrame) -> bool:
    """Return whether gold and predicted are tags (BIO) with a space between, as many in both."""
    pairs = zip(frame["gold"].str.split(" "), frame["predicted"].str.split(" "), strict=True)
    return all(len(gold) == len(predicted) and all(map(is_tag, (*gold, *predicted))) for gold, predicted in pairs)


def bits_of(texts: npt.NDArray[Any]) -> IntArray:
    """Return texts (...,) such as ``0110``, all of C characters, as 0 and 1 (..., C)."""
    found: IntArray = np.array([list(text) for text in texts.ravel()]).astype(np.int8).reshape(*texts.shape, -1)
    return found


def read_columns(
    path: Place,
    types: Mapping[str, Sequence[pa.DataType]],
    columns: Sequence[str],
    wanted: Mapping[str, str | int] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return ``columns`` of a Parquet file, for the rows whose other columns have the values ``wanted``.

    ``types`` names the columns that the file must have, and the plain types that each may have. Raises DamagedRecord,
    which names the file, where it can't be read, a column is missing or of another type (also an extension type), or a
    value that is read is missing.
    """
    try:
        with path.open("rb") as file:
            source = pq.ParquetFile(file)
            _check_types(source.schema_arrow, types)
            _check_size(source.metadata)
            # Not by read_table, whose filters take three times as long on files of this size.
            groups = [_rows(source, number, columns, wanted) for number in range(source.num_row_groups)]
            table = pa.concat_tables(groups) if groups else source.read(list(columns))
        table.validate(full=True)  # a text of bytes that are no UTF-8 would raise an error only where it is read
        for name in columns:
            if table[name].null_count:
                raise ValueError(f"column {name!r} lacks values")
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedRecord(f"{path}: {str(error).partition(chr(10))[0]}") from error
    return frame


def _rows(source: pq.ParquetFile, number: int, columns: Sequence[str], wanted: Mapping[str, str | int]) -> pa.Table:
    """Return the rows of one row group whose columns have the values ``wanted``."""
    table = source.read_row_group(number, columns=[*columns, *wanted])
    for name, value in wanted.items():
        table = table.filter(pc.equal(table[name], value))
    return table.select(columns)


def _check_size(metadata: pq.FileMetaData) -> None:
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if metadata.num_rows > MAX_ROWS or size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_ROWS:,} rows or {MAX_BYTES:,} bytes once unpacked")


def _check_types(schema: pa.Schema, types: Mapping[str, Sequence[pa.DataType]]) -> None:
    for name, allowed in types.items():
        if schema.names.count(name) != 1:
            raise ValueError(f"needs one column {name!r}, has {schema.names.count(name)}")
        if schema.field(name).type not in allowed:
            raise ValueError(f"column {name!r} is {schema.field(name).type}, not {' or '.join(map(str, allowed))}")


def per_class_f1(gold: IntArray, predicted: IntArray, num_classes: int) -> FloatArray:
    """Return the F1 (C,) of each class, in [0, 1], for labels (N,); 0 for a class that is neither gold nor predicted.

    Raises ValueError where there are no items, the lengths differ, or a label lies outside 0..C-1.
    """
    return f1_of(_counts(gold, predicted, num_classes))


def accuracy(gold: IntArray, predicted: IntArray, num_classes: int) -> float:
    """Return the share, in [0, 1], of N items whose label is predicted. Raises ValueError as ``per_class_f1`` does."""
    _check_labels(gold, predicted, num_classes)
    return float((gold == predicted).mean())


def _of_counts(statistic: Statistic) -> Callable[[IntArray, IntArray, int], float]:
    return lambda gold, predicted, num_classes: float(statistic(_counts(gold, predicted, num_classes)))


METRICS: Mapping[str, Callable[[IntArray, IntArray, int], float]] = {
    "accuracy": accuracy,
    "micro_f1": accuracy,  # equal where each item has one label
    **{name: _of_counts(statistic) for name, statistic in STATISTICS.items()},
}
"""The metrics: functions of gold labels (N,), predicted labels (N,) and the number of classes.

As in training, a class that is neither gold nor predicted counts with F1 = 0. ``macro_f1_present`` differs: it is the
mean over the classes that occur among the gold labels. All raise ValueError as ``per_class_f1`` does.
"""


def is_computed(metric: str) -> bool:
    """Return whether the metric is computed from stored predictions of classes, and is in no record."""
    return f"test_{metric}" not in LABELS and (metric in METRICS or metric.startswith("f1:"))


def confusion(gold: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """Return the counts (C, C) of items by gold label (rows) and predicted label (columns).

    Raises ValueError as ``per_class_f1`` does.
    """
    _check_labels(gold, predicted, num_classes)
    return np.bincount(gold * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def _counts(gold: IntArray, predicted: IntArray, num_classes: int) -> FloatArray:
    """Return the true positives, gold items and predicted items of each class (3, C)."""
    _check_labels(gold, predicted, num_classes)
    return counts_of_labels(gold, predicted, num_classes)


def collapsed(predicted: IntArray) -> bool:
    """Return whether one class alone is predicted. Raises ValueError where there are no items."""
    if not len(predicted):
        raise ValueError("no items")
    return bool((predicted == predicted[0]).all())


def aligned_predictions(
    frames: Sequence[pd.DataFrame],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], IntArray]:
    """Return gold labels (I,), predicted labels (S, I) and codes of groups (I,), 0..G-1, of S runs on the same I items.

    ``frames`` are those of ``read_predictions``, in any order of rows. Items have the order of the first frame. Raises
    ValueError, which names the run (from 1) and an item, where items, gold labels or groups are not the same.
    """
    if not frames:
        raise ValueError("no runs")
    runs = [frame.set_index("item_id") for frame in frames]
    for number, run in enumerate(runs, 1):
        if run.index.has_duplicates:
            raise ValueError(f"run {number} has item {run.index[run.index.duplicated()][0]} twice")
    first = runs[0]
    aligned = []
    for number, run in enumerate(runs, 1):
        if not run.index.equals(first.index):
            for one, other, has, lacks in ((run, first, number, 1), (first, run, 1, number)):
                extra = one.index.difference(other.index)
                if len(extra):
                    raise ValueError(f"run {has} has {len(extra)} items that run {lacks} lacks, such as {extra[0]}")
            run = run.loc[first.index]
        for column, what in (("gold", "gold labels"), ("group_id", "groups")):
            differs = run[column] != first[column]
            if differs.any():
                raise ValueError(
                    f"runs 1 and {number} have other {what} for {differs.sum()} items, such as {differs.idxmax()}"
                )
        aligned.append(run["predicted"].to_numpy())
    return first["gold"].to_numpy(), np.stack(aligned), pd.factorize(first["group_id"])[0]


def _check_labels(gold: IntArray, predicted: IntArray, num_classes: int) -> None:
    if len(gold) != len(predicted) or not len(gold):
        raise ValueError(f"{len(gold)} gold and {len(predicted)} predicted labels: need as many, and at least one")
    low, high = min(gold.min(), predicted.min()), max(gold.max(), predicted.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels {low} to {high} do not lie in 0 to {num_classes - 1}")
