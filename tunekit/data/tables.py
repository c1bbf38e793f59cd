"""Rows of a CSV, JSON Lines or Parquet file, each with its place for messages. Nothing here can run what it reads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")
MAX_BYTES = 2**30
"""Of a file, and of a Parquet file's columns once uncompressed: a small file can unpack to fill any memory."""
MAX_ROWS = 10_000_000


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yields (place, values in the order of ``columns``); ``place`` reads ``FILE, line 3`` (Parquet: row, from 1).

    CSV has a header and gives strings; a ``.json`` file is JSON Lines too. Raises UserError, with file and line, for
    a file that is missing, too large, of another kind, broken or not UTF-8, and for a missing column.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: unsupported kind of file {path.suffix!r}; supported are {', '.join(SUFFIXES)}")
    _check_size(path)
    reader = {".csv": _csv_rows, ".parquet": _parquet_rows}.get(path.suffix, _json_rows)
    yield from reader(path, columns)


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (place, line) of a text file, empty lines left out. Raises UserError as ``read_rows``."""
    _check_size(path)
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.rstrip("\r")


def _check_size(path: Path) -> None:
    """Raises UserError for a file that is missing, empty or too large."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: the file is empty")
    if size > MAX_BYTES:
        raise UserError(f"{path}: {size:,} bytes; files of at most {MAX_BYTES:,} bytes are read")


def _require(place: str, columns: Sequence[str], present: Collection[str]) -> None:
    """Raises UserError for a name that occurs twice, and for a missing column (naming those there are)."""
    if len(set(present)) < len(present):
        raise UserError(f"{place}: a column name occurs twice")
    for column in columns:
        if column not in present:
            there = ", ".join(repr(name[:40]) for name in list(present)[:20]) or "none"
            flag = f"; --{column}-column names it" if column in ("text", "pair", "label") else ""
            raise UserError(f"{place}: no column {column!r}{did_you_mean(column, present)} (there are: {there}){flag}")


def _read_text(path: Path) -> str:
    """The file as UTF-8 text, a leading byte order mark dropped."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from error


def _csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    line = 1
    try:
        header = next(reader, [])
        _require(f"{path}, line 1", columns, header)
        places = [header.index(column) for column in columns]
        line = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(f"{path}, line {line}: {len(row)} fields, the header has {len(header)}")
            if row:
                yield f"{path}, line {line}", [row[place] for place in places]
            line = reader.line_num + 1  # quoted fields may hold line ends: a row starts after the one before
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: broken CSV ({error})") from error


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    # Only "\n" ends a line: splitlines() would also cut at characters that JSON strings may hold.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise UserError(f"{place}: broken JSON ({reason}); each line must be one object") from error
        if not isinstance(record, dict):
            raise UserError(f"{place}: JSON {type(record).__name__}, each line must be one object")
        _require(place, columns, record)
        yield place, [record[column] for column in columns]


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _require(str(path), columns, file.schema_arrow.names)
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > MAX_BYTES or file.metadata.num_rows > MAX_ROWS:
                raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes or {MAX_ROWS:,} rows once unpacked")
            values = file.read(columns=list(columns)).to_pydict()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: broken Parquet ({type(error).__name__})") from error
    for number, row in enumerate(zip(*(values[column] for column in columns), strict=True), start=1):
        yield f"{path}, row {number}", list(row)
