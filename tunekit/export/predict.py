"""``tunekit predict MODEL FILE`` writes an exported model's predictions for a file's rows as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tunekit.data import conll
from tunekit.data.delimited import Quotes
from tunekit.data.labels import BadValue, checked_text, joined_words
from tunekit.data.rows import FileRows, bad_rows_error, empty_rows
from tunekit.data.tables import SUFFIXES, read_lines, read_table, suffix_of
from tunekit.errors import UserError
from tunekit.export.loading import Exported
from tunekit.parsing import CONTROL
from tunekit.storage.files import write_atomic
from tunekit.tasks import TASKS

CHUNK_ROWS = 2_048
"""The number of rows that are labelled at a time."""


def inputs(
    path: Path,
    text_column: str,
    pair_column: str | None,
    *,
    pairs: bool,
    of_words: bool = False,
    separator: str | None = None,
    quotes: Quotes = "auto",
) -> FileRows:
    """Return the texts in a file, its only column or its first, and for a model of ``pairs`` the second texts.

    With ``of_words`` the model gives each word a tag. The words of a returned text have one space between them, and the
    file may also be one of ``tunekit.data.conll``, whose tags are not read.

    The file is CSV, TSV, JSON Lines or Parquet, or a text file with one text a line. ``separator`` and ``quotes`` say
    how CSV is read. Raises UserError for a file that can't be read as a dataset, for rows without a text, and for
    columns that do not suit the model.
    """
    if pairs and pair_column is None:
        pair_column = "pair"
    if not pairs and pair_column is not None:
        raise UserError("--pair-column: this model takes one text")
    if path.suffix == ".txt":
        if pairs:
            raise UserError(f"{path}: this model takes pairs of texts; give a file of {', '.join(SUFFIXES)}")
        columns = ["text"]
        rows = empty_rows(str(path), "line", columns)
        for number, line in read_lines(path):
            rows.keep(number, [line])
    elif of_words and suffix_of(path, conll.SUFFIXES):
        rows = conll.read_conll(path, text_column, None, separator=separator)
    else:
        columns = [text_column] if pair_column is None else [text_column, pair_column]
        if len(set(columns)) < len(columns):
            raise UserError(f"text and pair must be different columns, got {text_column} twice")
        rows = read_table(path, columns, separator=separator, quotes=quotes)
    _check(rows, of_words=of_words)
    if not rows.numbers:
        raise UserError(f"{path}: no rows")
    return rows


def _check(rows: FileRows, *, of_words: bool) -> None:
    """Raise UserError for all rows that have no text, since each row of the file gets a label.

    With ``of_words`` each text is replaced by its words with one space between them.
    """
    bad, checked = list(rows.bad), joined_words if of_words else checked_text
    for place, number in enumerate(rows.numbers):
        try:
            for column, values in rows.values.items():
                values[place] = checked(column, values[place])
        except BadValue as error:
            bad.append(rows.bad_row(number, error.kind, error.reason))
    if bad:
        raise bad_rows_error(sorted(bad, key=lambda row: row.number), rows.source)


def predictions(exported: Exported, texts: list[str], pairs: list[str] | None) -> Iterator[str]:
    """Yield CSV text: the header, then the rows in chunks.

    The columns are ``row`` from 1 and those of the task: of a classification ``label`` and the probability
    ``p_<label>`` of each label, of a regression ``prediction``, of words ``tags``, one a word.
    """
    task, constants = TASKS[exported.manifest.task], exported.manifest.constants
    names = [CONTROL.sub(" ", name) for name in exported.manifest.label_names]
    numbers = iter(range(len(texts)))
    while part := list(islice(numbers, CHUNK_ROWS)):
        chunk = slice(part[0], part[-1] + 1)
        outputs = exported.outputs(texts[chunk], None if pairs is None else pairs[chunk])
        answers = task.answers(outputs, constants, names)
        if not part[0]:
            yield _csv([["row", *answers]])
        yield _csv(
            [number + 1, *map(_no_formula, row)]
            for number, row in zip(part, zip(*answers.values(), strict=True), strict=True)
        )


def write_new(path: Path, parts: Iterator[str]) -> None:
    """Write the new file ``path``. Raises UserError where it exists or can't be written."""
    if path.exists() or path.is_symlink():
        raise UserError(f"--out {path} exists already; give another name")
    try:
        write_atomic(path, "".join(parts).encode())
    except OSError as error:
        raise UserError(f"can't write --out {path} ({error.strerror})") from error


def _csv(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _no_formula(label: str) -> str:
    """Return ``label`` so that no spreadsheet reads it as a formula; numbers stay as they are."""
    return (
        f"'{label}" if label[:1] in tuple("=+-@") and not re.fullmatch(r"[-+]?\d+(\.\d+)?(e[-+]\d+)?", label) else label
    )
