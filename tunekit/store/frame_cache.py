"""The two DataFrames of a store's records in one file, which is read faster than the records themselves.

The file has a line with the cache's version, the size of the first table and the checksum of both, and then the two
tables as Arrow files. One file can't mix what two writers wrote. Arrow files are read faster than Parquet.
"""

import zlib
from dataclasses import fields
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tunekit.schema import SCHEMA_VERSION, EpochRecord
from tunekit.storage.files import write_atomic

CACHE_VERSION = 5
"""The version of the cache's columns and of its form."""
CACHE_FILE = "records.bin"
"""The name of the cache's file."""
_HEAD = 64  # bytes of the line
_ALIGNED = 8  # the bytes at whose multiples Arrow wants tables to begin

_TEXT, _INT, _FLOAT = pa.large_string(), pa.int64(), pa.float64()  # large, as pandas has it
TRIALS = pa.schema(
    {
        "folder": _TEXT, "stamp": _INT, "own": pa.bool_(), "trial_id": _TEXT, "cell": _TEXT, "fingerprint": _TEXT,
        "model": _TEXT, "dataset": _TEXT, "method": _TEXT, "seed": _INT, "settings": _TEXT, "score_test": pa.bool_(),
        "planned_epochs": _INT, "status": _TEXT, "num_epochs": _INT, "best_epoch": _INT, "num_trainable_params": _INT,
        "num_total_params": _INT, "train_seconds": _FLOAT, "peak_memory_bytes": _INT,
        "predicted_memory_bytes": _INT, "fit_loss": _FLOAT,
        "fit_accuracy": _FLOAT, "fit_micro_f1": _FLOAT, "fit_macro_f1": _FLOAT, "error": _TEXT, "execution": _TEXT,
        "provenance": _TEXT,
    }
)  # fmt: skip
_KINDS = {"int": _INT, "float": _FLOAT}
EPOCHS = pa.schema(
    {
        "folder": _TEXT,
        **{item.name: _KINDS[str(item.type).split(" ")[0]] for item in fields(EpochRecord)},
        "scores": _TEXT,
    }
)


def load_frames(cache: Path | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return trials and epochs of the cache in the folder ``cache``.

    They are empty where there is no cache, or it is damaged or of another version.
    """
    if cache is None:
        return _empty()
    try:
        content = memoryview((cache / CACHE_FILE).read_bytes())
        version, size, checksum = bytes(content[:_HEAD]).split()
        if (version, int(checksum)) != (_version(), zlib.crc32(content[_HEAD:])):
            return _empty()
        end = _HEAD + int(size)
        parts = content[_HEAD:end], content[_padded(end) :]
        trials, epochs = (pa.ipc.open_file(part).read_all() for part in parts)
    except (OSError, ValueError, pa.ArrowException):
        return _empty()
    if (trials.schema, epochs.schema) != (TRIALS, EPOCHS):
        return _empty()
    return as_frame(trials), as_frame(epochs)


def save_frames(cache: Path, trials: pd.DataFrame, epochs: pd.DataFrame) -> None:
    """Write trials and epochs as the cache in the folder ``cache``. Raises OSError."""
    cache.mkdir(parents=True, exist_ok=True)
    first, second = _arrow_file(trials, TRIALS), _arrow_file(epochs, EPOCHS)
    tables = first.ljust(_padded(len(first)), b"\0") + second
    head = b"%s %d %d" % (_version(), len(first), zlib.crc32(tables))
    write_atomic(cache / CACHE_FILE, head.ljust(_HEAD) + tables)


def as_frame(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a DataFrame, whose whole numbers stay whole where a column has nulls."""
    frame: pd.DataFrame = table.to_pandas(types_mapper={_INT: pd.Int64Dtype()}.get)
    return frame


def _empty() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames of a store without trials."""
    return as_frame(TRIALS.empty_table()), as_frame(EPOCHS.empty_table())


def _arrow_file(frame: pd.DataFrame, schema: pa.Schema) -> bytes:
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(None)
    buffer = BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _padded(size: int) -> int:
    """Return the next size at which a table may begin."""
    return -(-size // _ALIGNED) * _ALIGNED


def _version() -> bytes:
    """Return the first word of the line: the versions of schema and cache."""
    return b"%d.%d" % (SCHEMA_VERSION, CACHE_VERSION)
