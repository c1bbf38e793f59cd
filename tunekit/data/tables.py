"""Files of tables: CSV and its relatives, JSON Lines and Parquet. Nothing here can run what it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.data import text_files
from tunekit.data.delimited import Quotes, read_delimited
from tunekit.data.rows import FileRows, empty_rows, missing_column
from tunekit.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

PLAIN = (".csv", ".tsv", ".jsonl", ".json")
SUFFIXES = (*PLAIN, *(f"{suffix}.gz" for suffix in PLAIN), ".parquet")
"""The endings of files of tables, in lower case; files may spell them in upper case too."""
LISTS = tuple(suffix for suffix in SUFFIXES if suffix.startswith((".json", ".parquet")))
"""The endings of files whose cells can hold lists."""
OWN_SEPARATOR = {".csv": ",", ".tsv": "\t"}
MAX_ROWS = 10_000_000
NO_LABEL = -1
"""The number that stands for a missing label in a column of ClassLabel."""


def suffix_of(path: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    """Return the one of ``suffixes`` that the name of ``path`` ends in; "" where it ends in none."""
    name = path.name.lower()
    return next((suffix for suffix in suffixes if name.endswith(suffix)), "")


def stem_of(path: Path, suffixes: Sequence[str] = SUFFIXES) -> str:
    """Return the name of ``path`` without its suffix, one of ``suffixes``: ``reviews`` for reviews.csv.gz."""
    suffix = suffix_of(path, suffixes)
    return path.name[: -len(suffix)] if suffix else path.stem


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    label: str | None = None,
    separator: str | None = None,
    quotes: Quotes = "auto",
) -> FileRows:
    """Return the values of ``columns`` in a file, and its rows that can't be read.

    CSV and TSV have a header and give texts. Their separator is ``separator``, or the one under which the header has
    the columns. ``quotes`` says how quotes are read, and ``label`` names the column of labels. A ``.json`` file is JSON
    Lines too. In Parquet, a ClassLabel column of the library ``datasets`` gives the names of its classes.

    Raises UserError, with file and line, for a file that is missing, too large, of another kind, broken or in another
    encoding, for a missing column, and for a quoted field that holds rows.
    """
    suffix = suffix_of(path)
    if not suffix:
        kind = path.suffix or path.name
        raise UserError(f"{path}: unsupported kind of file {kind!r}; supported are {', '.join(SUFFIXES)}")
    own = OWN_SEPARATOR.get(suffix.removesuffix(".gz"))
    if own is None and separator is not None:
        raise UserError(f"{path}: --separator is for CSV and TSV files")
    if separator is not None and (len(separator) != 1 or separator in '"\r\n\0 '):
        raise UserError(f"--separator must be one character, neither a quote nor a space, got {separator!r}")
    if suffix == ".parquet":
        return _parquet_rows(path, columns)
    text, notes = text_files.read_text(path)
    if own is None:
        rows = _json_rows(str(path), text, columns)
    else:
        rows = read_delimited(str(path), text, columns, own, separator=separator, quotes=quotes, label=label)
    rows.notes[:0] = notes
    return rows


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line of a text file, empty lines left out.

    Raises UserError as ``read_table``.
    """
    for number, line in enumerate(text_files.read_text(path)[0].split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


class _Doubled(ValueError):
    """A key occurs twice in one JSON object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raises _Doubled for a key that occurs twice, of which Python would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Doubled(f"the key {next(key for key in keys if keys.count(key) > 1)[:40]!r} occurs twice")
    return found


def _json_rows(source: str, text: str, columns: Sequence[str]) -> FileRows:
    """Return the rows of JSON Lines. Raises UserError where no object has a column."""
    rows = empty_rows(source, "line", columns)
    lacking: dict[str, tuple[int, list[str]]] = {}
    present: set[str] = set()
    # Only "\n" ends a line: splitlines() would also cut at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=_object)
        except _Doubled as error:
            rows.refuse(number, "broken JSON", str(error))
            continue
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            rows.refuse(number, "broken JSON", f"broken JSON ({reason}); each line must be one object")
            continue
        if not isinstance(record, dict):
            rows.refuse(number, "broken JSON", f"JSON {type(record).__name__}, each line must be one object")
            continue
        present.update(record.keys() & set(columns))
        missing = [column for column in columns if column not in record]
        if missing:
            lacking.setdefault(missing[0], (number, list(record)))
            rows.refuse(number, f"no {missing[0]}", missing_column(missing[0], list(record)))
        else:
            rows.keep(number, [record[column] for column in columns])
    for column, (number, there) in lacking.items():
        if column not in present:
            raise UserError(f"{source}, line {number}: {missing_column(column, there)}")
    return rows


def _parquet_rows(path: Path, columns: Sequence[str]) -> FileRows:
    """Return the rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text_files.check_size(path)
    try:
        with pq.ParquetFile(path) as file:
            _require(str(path), columns, file.schema_arrow.names)
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            limit = text_files.MAX_BYTES
            if sum(group.total_byte_size for group in groups) > limit or file.metadata.num_rows > MAX_ROWS:
                raise UserError(f"{path}: larger than {limit} bytes or {MAX_ROWS} rows once unpacked")
            table = file.read(columns=list(columns))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: broken Parquet ({type(error).__name__})") from error
    return arrow_rows(str(path), table, columns)


def arrow_rows(source: str, table: pa.Table, columns: Sequence[str]) -> FileRows:
    """Return the values of ``columns`` of an Arrow table.

    Numbers of ClassLabel columns, also within lists, as the tags of words are, become the classes' names. Raises
    UserError for a column that is missing or there twice, and where the ClassLabel names of a column are broken.
    """
    _require(source, columns, table.column_names)
    class_names = _class_labels(source, table.schema.metadata or {}, columns)
    rows = empty_rows(source, "row", columns)
    values = [table.column(column).to_pylist() for column in columns]
    for number, row in enumerate(zip(*values, strict=True), start=1):
        kept = list(row)
        for place, column in enumerate(columns):
            if column in class_names and kept[place] is not None:
                names, value = class_names[column], kept[place]
                if isinstance(value, list) and all(isinstance(one, int) and 0 <= one < len(names) for one in value):
                    kept[place] = [names[one] for one in value]
                    continue
                if value == NO_LABEL:
                    rows.refuse(number, "missing label", f"{column!r} is -1, the mark of a missing label")
                    break
                if not isinstance(value, int) or not 0 <= value < len(names):
                    rows.refuse(number, "no such class", f"{column!r} is {value!r}; it has {len(names)} class names")
                    break
                kept[place] = names[value]
        else:
            rows.keep(number, kept)
    return rows


def _require(source: str, columns: Sequence[str], present: Sequence[str]) -> None:
    """Raise UserError for a column that is missing or there twice."""
    for column in columns:
        if column not in present:
            raise UserError(f"{source}: {missing_column(column, present)}")
        if list(present).count(column) > 1:
            raise UserError(f"{source}: the column name {column!r} occurs twice")


def _class_labels(source: str, metadata: dict[bytes, bytes], columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of the classes of each ClassLabel column, which ``datasets`` keeps in the schema's metadata."""
    if b"huggingface" not in metadata:
        return {}
    try:
        features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features", {})
        kinds = {column: features.get(column, {}) for column in columns}
        # A list of classes is kept as a Sequence, or as a List, of them.
        kinds = {column: kind.get("feature", kind) for column, kind in kinds.items()}
        found = {
            column: list(map(str, kind["names"])) for column, kind in kinds.items() if kind.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{source}: its description of columns by the library datasets is broken") from error
    for column, names in found.items():
        if len(set(names)) < len(names):
            raise UserError(f"{source}: two classes of column {column!r} have the same name")
    return found
