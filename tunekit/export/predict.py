"""``python -m tunekit predict DIR FILE``: labels and probabilities of a file's rows, as CSV."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from tunekit.data.tables import SUFFIXES, read_lines, read_rows
from tunekit.data.user import checked_text
from tunekit.errors import UserError
from tunekit.export.loading import Exported
from tunekit.parsing import CONTROL
from tunekit.storage.files import write_atomic

CHUNK_ROWS = 2_048


def inputs(path: Path, text_column: str, pair_column: str | None, *, pairs: bool) -> tuple[list[str], list[str] | None]:
    """Texts and, for a model of ``pairs``, second texts of a CSV, JSON Lines, Parquet or text file, a text a line.

    Raises UserError for what the readers of own data refuse, and for columns that do not suit the model.
    """
    if pairs and pair_column is None:
        pair_column = "pair"
    if not pairs and pair_column is not None:
        raise UserError("--pair-column: this model takes one text")
    if path.suffix == ".txt":
        if pairs:
            raise UserError(f"{path}: this model takes pairs of texts; give a file of {', '.join(SUFFIXES)}")
        rows = ((place, [line]) for place, line in read_lines(path))
        columns = ["text"]
    else:
        columns = [text_column] if pair_column is None else [text_column, pair_column]
        if len(set(columns)) < len(columns):
            raise UserError(f"text and pair must be different columns, got {text_column} twice")
        rows = read_rows(path, columns)
    checked = [[checked_text(place, *one) for one in zip(columns, values, strict=True)] for place, values in rows]
    if not checked:
        raise UserError(f"{path}: no rows")
    texts = [row[0] for row in checked]
    return texts, [row[1] for row in checked] if pairs else None


def predictions(exported: Exported, texts: list[str], pairs: list[str] | None) -> Iterator[str]:
    """CSV, a header and a chunk of rows at a time: ``row`` from 1, ``label``, and ``p_<label>`` of each label."""
    names = [CONTROL.sub(" ", name) for name in exported.manifest.label_names]
    yield _csv([["row", "label", *(f"p_{name}" for name in names)]])
    numbers = iter(range(len(texts)))
    while part := list(islice(numbers, CHUNK_ROWS)):
        chunk = slice(part[0], part[-1] + 1)
        logits = exported.logits(texts[chunk], None if pairs is None else pairs[chunk]).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        yield _csv(
            [row + 1, _no_formula(names[each.argmax()]), *(f"{value:.6f}" for value in each)]
            for row, each in zip(part, shares, strict=True)
        )


def write_new(path: Path, parts: Iterator[str]) -> None:
    """Write the file ``path`` whole. Raises UserError where something is there or its folder can't be written."""
    if path.exists() or path.is_symlink():
        raise UserError(f"--out {path} is there already; give another name")
    try:
        write_atomic(path, "".join(parts).encode())
    except OSError as error:
        raise UserError(f"can't write --out {path} ({error.strerror})") from error


def _csv(rows) -> str:  # noqa: ANN001
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _no_formula(label: str) -> str:
    """``label`` that no spreadsheet takes for a formula; numbers stay."""
    return f"'{label}" if label[:1] in tuple("=+-@") and not re.fullmatch(r"[-+]?\d+", label) else label
