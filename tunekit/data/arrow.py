"""Choose the splits of Arrow tables, as the library ``datasets`` keeps them, and read their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tunekit.data.rows import FileRows
from tunekit.data.tables import MAX_ROWS, arrow_rows
from tunekit.data.text_files import MAX_BYTES
from tunekit.data.user import STEMS
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from tunekit.data.user import Columns


def choose_splits(
    names: Iterable[str], source: str, test_split: str | None = None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the names of the train, val and test splits among ``names``, and a note on the other splits.

    ``test_split`` is the name of the test split where it is not called test. Raises UserError where there is no train
    split or no ``test_split``, or where two names stand for one split.
    """
    names = list(names)
    if test_split is not None and test_split not in names:
        raise UserError(
            f"{source}: it has no split {test_split!r}{did_you_mean(test_split, names)} (there are: {', '.join(names)})"
        )
    found: dict[str, str] = {}
    others = []
    for name in names:
        split = next((split for split, words in STEMS.items() if name.lower() in words), None)
        if test_split is not None:
            split = "test" if name == test_split else None if split == "test" else split
        if split is None:
            others.append(name)
        elif split in found:
            raise UserError(f"{source}: the splits {found[split]} and {name} are both {split}")
        else:
            found[split] = name
    if "train" not in found:
        raise UserError(f"{source}: it has no split train (there are: {', '.join(others or found.values()) or 'none'})")
    note = f"left out: split{'s' if len(others) > 1 else ''} {', '.join(others)}"
    return {split: found[split] for split in STEMS if split in found}, (note,) if others else ()


def joined(tables: Sequence[pa.Table], source: str) -> pa.Table:
    """Return the rows of ``tables``, one after another. Raises UserError where they are too large, or differ."""
    import pyarrow as pa

    if sum(table.nbytes for table in tables) > MAX_BYTES or sum(table.num_rows for table in tables) > MAX_ROWS:
        raise UserError(f"{source}: larger than {MAX_BYTES} bytes or {MAX_ROWS} rows")
    try:
        return pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise UserError(f"{source}: its files have different columns or types") from error


def rows_of_splits(
    tables: Mapping[str, pa.Table], columns: Columns, source: str
) -> tuple[dict[str, FileRows], tuple[str, ...]]:
    """Return the rows of each split, and a note on each split other than train that has no labels and is left out.

    Public datasets often hold a test split whose labels are kept secret, as -1 or as nothing.
    """
    rows, notes = {}, []
    for split, table in tables.items():
        read = arrow_rows(f"{source}, {split}", table, columns.used())
        # With several labels a row, an empty cell means a row without a label, not a secret one.
        secret = columns.label_separator is None and all(
            label is None for column in columns.labels for label in read.values[column]
        )
        if split != "train" and table.num_rows and secret:
            notes.append(f"left out: split {split}, none of whose rows has a label")
        else:
            rows[split] = read
    return rows, tuple(notes)
