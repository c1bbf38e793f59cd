"""CSV and Parquet files with a row a run or an epoch, and the table of runs that Weights & Biases exports."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.foreign.trial import PREFIXES, Ended, Experiment, ForeignTrial, Kind, check_file, ended_by_word, read_text
from tunekit.errors import UserError

SUFFIXES = (".csv", ".tsv", ".parquet")
WANDB_COLUMNS = ("Name", "State", "Created", "Runtime")
"""The columns that the table of runs of Weights & Biases always has."""
_WANDB_IGNORED = (
    "Name", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep", "ID", "Group", "Job Type", "Updated",
    "End Time", "Heartbeat", "Hostname", "Commit", "GitHub", "Description", "GPU*", "CPU*", "Python Version", "OS",
    "Host", "Command", "_step", "_timestamp", "_runtime", "_wandb*", "train/*", "eval/*", "val/*", "test/*",
)  # fmt: skip
_CHART = re.compile(r".+ - .+__(MIN|MAX)")
_TABLE_IGNORED = (
    "sweep", "split", "num_epochs", "best_epoch", "best_val_macro_f1", "fit_*", "predicted_memory_bytes", "step",
    "epoch_learning_rate", "train_tokens_per_second", "epoch", "status", "error", "trial_id",
)  # fmt: skip
"""The columns of ``runs.csv`` and ``epochs.csv`` that are no settings."""
TABLE_KEYS = {"trial": ("trial_id",)}
MAX_TABLE_ROWS = 1_000_000


def read_wandb(path: Path) -> Experiment:
    """Return the runs of the table. Raises UserError where it is no such table."""
    columns, rows = _read(path)
    if not is_wandb(columns):
        chart = any(_CHART.fullmatch(name) for name in columns)
        hint = "; this is the CSV of one chart, which has no settings: export the table of runs" if chart else ""
        raise UserError(f"{path} lacks a column of {', '.join(WANDB_COLUMNS)}{hint}")
    trials = []
    for line, row in rows:
        word = row.get("State") or ""
        ended = ended_by_word(word)
        if ended is None:
            raise UserError(f"{path}, line {line}: Weights & Biases has no state {word!r}")
        said = f"{word or 'no state'} in Weights & Biases"
        error = said if ended is Ended.FAILED else None
        name = str(row.get("ID") or f"line {line} ({row.get('Name')})")
        trials.append(ForeignTrial(name, row, [row], ended, said, error))
    keys = {"train_seconds": ("Runtime",)}
    return Experiment(Kind.WANDB, path.name, trials, keys, PREFIXES, _WANDB_IGNORED, is_table=True)


def read_table(path: Path) -> Experiment:
    """Return the rows of a file, each as a trial; ``assembled`` makes trials of those that are epochs or splits."""
    columns, rows = _read(path)
    if any(_CHART.fullmatch(name) for name in columns):
        raise UserError(f"{path} is the CSV of one chart of Weights & Biases, which has no settings: export the table")
    trials = [ForeignTrial(f"line {line}", row, [row]) for line, row in rows]
    return Experiment(Kind.TABLE, path.name, trials, TABLE_KEYS, ignored=_TABLE_IGNORED, is_table=True)


def is_wandb(columns: Sequence[str]) -> bool:
    """Return whether a file with these columns is a table of runs of Weights & Biases."""
    return set(columns) >= set(WANDB_COLUMNS)


def columns_of(path: Path) -> list[str]:
    """Return the names of a file's columns. Raises UserError where it has none, or one twice."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    """Return the columns of a file, and its rows with the numbers of their lines; a row has no empty places.

    Raises UserError where the file can't be read, and where a line has more or fewer places than the head.
    """
    check_file(path)
    columns, rows = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    again = [name for number, name in enumerate(columns) if name in columns[:number]]
    if again or not columns:
        raise UserError(f"{path}: " + (f"the column {again[0]!r} occurs twice" if again else "there is no head"))
    if not rows:
        raise UserError(f"{path} has a head and no row")
    if len(rows) > MAX_TABLE_ROWS:
        raise UserError(f"{path} has more than {MAX_TABLE_ROWS:,} rows")
    return columns, rows


def _csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    text = read_text(path).removeprefix("\ufeff")
    first = text.partition("\n")[0]
    separator = max((",", ";", "\t"), key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        while columns and not columns[-1]:
            columns.pop()  # separators at the end of the head are no columns
        for places in reader:
            extra = places[len(columns) :]
            if not any(places):
                continue
            if len(places) < len(columns) or any(extra):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(places)} places under a head of {len(columns)} columns"
                )
            row = {name: value for name, value in zip(columns, places, strict=False) if value.strip()}
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error
    return columns, rows


def _parquet(path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} can't be read as Parquet ({error})") from error
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    rows = table.select(names).to_pylist()
    return names, [
        (number, {name: value for name, value in row.items() if value is not None})
        for number, row in enumerate(rows, 1)
    ]
