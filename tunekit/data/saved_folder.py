"""A folder that ``save_to_disk`` of the library ``datasets`` wrote: a Dataset, or a DatasetDict with named splits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.data.arrow import choose_splits, joined, rows_of_splits
from tunekit.data.text_files import MAX_BYTES
from tunekit.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from tunekit.data.rows import FileRows
    from tunekit.data.user import Columns

SPLITS_FILE = "dataset_dict.json"
STATE_FILE = "state.json"


def read_saved(
    folder: Path, columns: Columns, test_split: str | None = None
) -> tuple[dict[str, FileRows], tuple[str, ...]]:
    """Return the rows of each split in ``folder``, and notes on what is left out; a Dataset's rows are all train.

    ``test_split`` is the name of the test split where it is not called test. The files are read as Arrow data, by the
    names that the folder's JSON files give; nothing there can run. Raises UserError, which names the file, where one is
    missing or damaged.
    """
    if not (folder / SPLITS_FILE).is_file():
        if test_split is not None:
            raise UserError(f"{folder}: it has no splits, and so none that is called {test_split!r}")
        return rows_of_splits({"train": _table(folder, columns)}, columns, str(folder))
    names = _json(folder / SPLITS_FILE).get("splits")
    if not isinstance(names, list) or not all(_is_plain(name) for name in names):
        raise UserError(f"{folder / SPLITS_FILE}: it names no splits")
    chosen, notes = choose_splits(names, str(folder), test_split)
    tables = {split: _table(folder / name, columns) for split, name in chosen.items()}
    rows, more = rows_of_splits(tables, columns, str(folder))
    return rows, (*notes, *more)


def _table(folder: Path, columns: Columns) -> pa.Table:
    """Return the columns of the Arrow files that ``folder/state.json`` lists; no rows where a column is missing."""
    import pyarrow as pa

    files = _json(folder / STATE_FILE).get("_data_files")
    listed = files if isinstance(files, list) else []
    names = [str(file.get("filename")) if isinstance(file, dict) else "" for file in listed]
    if not names or not all(map(_is_plain, names)):
        raise UserError(f"{folder / STATE_FILE}: it lists no data files")
    tables = []
    for name in names:
        try:
            with pa.memory_map(str(folder / name)) as file, pa.ipc.open_stream(file) as reader:
                if file.size() > MAX_BYTES:
                    raise UserError(f"{folder / name}: larger than {MAX_BYTES} bytes")
                table = pa.Table.from_batches(_bounded(reader, folder / name), reader.schema)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UserError(f"{folder / name}: can't be read as Arrow data ({type(error).__name__})") from error
        whole = set(columns.used()) <= set(table.column_names)
        # Where a column is missing, the empty table's columns let the message name those that exist.
        tables.append(table.select(columns.used()) if whole else table.slice(0, 0))
    return joined(tables, str(folder))


def _bounded(batches: Iterable[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """Yield ``batches``. Raises UserError where they are too large together: a small file can unpack to any size."""
    size = 0
    for batch in batches:
        size += batch.nbytes
        if size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES} bytes once unpacked")
        yield batch


def _is_plain(name: object) -> bool:
    """Return whether ``name`` is the name of a file, without any folder."""
    return isinstance(name, str) and bool(name) and Path(name).name == name


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises UserError where it can't be read."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({type(error).__name__})") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: it is no JSON object")
    return values
