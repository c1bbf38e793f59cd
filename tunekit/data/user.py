"""A user's own data: CSV, JSON Lines or Parquet, one file (split 80/10/10) or a folder with train, test and maybe dev.

The checks and the split serve a DataFrame too (``tunekit.data.frame``). Labels become classes: whole numbers and words
do, anything that looks like regression or multi-label is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from tunekit.data.base import TextDataset, content_hash, make_dataset, make_frame, text_hash
from tunekit.data.splitting import draw_parts
from tunekit.data.tables import SUFFIXES, read_rows
from tunekit.errors import UserError
from tunekit.schema import slug

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}
WITH_DEV = {"train": 0.9, "test": 0.1}
SPLIT_SEED = 0
STEMS = {"train": ("train",), "val": ("dev", "val", "validation"), "test": ("test",)}
MAX_NUMERIC_LABELS = 200


class CheckedRow(NamedTuple):
    """One row whose values can be trained on; ``place`` is its file and line, for messages."""

    place: str
    text: str
    pair: str | None
    label: str
    """The label as it stands."""
    group: str | None
    """A hash that stands for the group; None for a row without one."""


class Columns(NamedTuple):
    """The names of the columns that hold the values of a row; None where there is no such column."""

    text: str
    pair: str | None
    label: str
    group: str | None

    def used(self) -> list[str]:
        """Return the names of the columns that are there, each once."""
        return list(dict.fromkeys(name for name in (self.text, self.label, self.pair, self.group) if name is not None))

    def check(self) -> None:
        """Raise UserError where two of text, pair and label are one column."""
        if len({self.text, self.label, self.pair}) < 3:
            raise UserError(
                f"text, pair and label must be different columns, got {self.text}, {self.pair}, {self.label}"
            )


def read_user_dataset(
    path: Path,
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str = "label",
    group_column: str | None = None,
) -> TextDataset:
    """Return the data at ``path`` as a dataset called ``<slug of the stem>-<content hash>``; the path never enters.

    A folder needs train and test files, and may hold one of dev, val or validation. A single file, and a folder without
    a test file, is split as ``split_rows`` says. Without a group column, the group of a row is its text; with one, rows
    of the same group, or of the same text and pair, stay together.
    Raises UserError, one line with file and line (Parquet: row), for everything that can't be trained on.
    """
    path = Path(path)
    columns = Columns(text_column, pair_column, label_column, group_column)
    columns.check()
    is_folder = path.is_dir()
    files = _split_files(path) if is_folder else {"train": path}
    rows = {split: _read_file(file, columns) for split, file in files.items()}
    return split_rows(rows, str(path), path.resolve().name if is_folder else path.stem)


def split_rows(
    rows: dict[str, list[CheckedRow]], source: str, name: str, way_out: str = "give train and test apart"
) -> TextDataset:
    """Return the dataset of the rows of each split, called ``<slug of name>-<content hash>``.

    ``rows`` has train, and maybe val and test; ``source`` names the data in messages, and ``way_out`` says what to do
    where there are too few rows to split. Where there is no test split, it
    is drawn out of train: 80 % of the rows stay in train, 10 % become val and 10 % test; where val is given, 90 % stay
    in train and 10 % become test. The draw is stratified by label, keeps rows of one text or group together, and is the
    same for the same content. ``split_note`` of the dataset says what was done.

    Raises UserError, one line with the place of the row, for labels that look like regression, a single class, a label
    of val or test that train lacks, and too few rows to split.
    """
    names = _class_names(rows, source)
    numeric = all(_whole(label) is not None for label in names.values())
    label_names = tuple(sorted(set(names.values()), key=int if numeric else str))
    for split, part in rows.items():
        trained = {names[row.label] for row in rows["train"]}
        for row in part:
            if names[row.label] not in trained:
                raise UserError(f"{row.place}: label {row.label[:60]!r} of {split} never occurs in train")
    index = {label: label_names.index(class_name) for label, class_name in names.items()}
    splits = {
        split: make_frame(
            [row.text for row in part],
            [index[row.label] for row in part],
            pairs=[row.pair for row in part],
            groups=[text_hash(row.text) if row.group is None else row.group for row in part],
        )
        for split, part in rows.items()
    }
    note = f"its splits are those given: {', '.join(splits)}"
    if "test" not in splits:
        whole = splits["train"]
        shares = WITH_DEV if "val" in splits else SHARES
        parts = draw_parts(whole, shares, SPLIT_SEED)
        if not all(parts.values()):
            raise UserError(f"{source}: too few rows, or groups, to split 80/10/10; {way_out}")
        splits |= {split: whole.iloc[part].reset_index(drop=True) for split, part in parts.items()}
        drawn = ", ".join(f"{share:.0%} {split}" for split, share in shares.items())
        note = f"its train rows are split {drawn}: stratified by label, rows of one text or group together"
    digest = content_hash(splits, label_names)
    return make_dataset(
        f"{slug(name)[:47].rstrip('-.')}-{digest}",
        splits,
        display_name=name,
        label_names=label_names,
        content_hash=digest,
        pair_as="pair",
        split_note=note,
    )


def _split_files(folder: Path) -> dict[str, Path]:
    """Return the one file of each split in ``folder``. Raises UserError where train is missing or one has two files."""
    files = {}
    for split, stems in STEMS.items():
        found = [f for stem in stems for s in SUFFIXES if (f := folder / f"{stem}{s}").is_file()]
        if len(found) > 1:
            raise UserError(f"{folder}: {' and '.join(f.name for f in found)} are both {split}; keep one")
        if found:
            files[split] = found[0]
        elif split == "train":
            raise UserError(f"{folder}: no {split} file; there must be one of {split}{f', {split}'.join(SUFFIXES)}")
    return files


def _read_file(path: Path, columns: Columns) -> list[CheckedRow]:
    """Return all rows of a file."""
    used = columns.used()
    rows = [
        checked_row(place, columns, dict(zip(used, values, strict=True))) for place, values in read_rows(path, used)
    ]
    if not rows:
        raise UserError(f"{path}: no rows")
    return rows


def checked_row(place: str, columns: Columns, values: Mapping[str, object]) -> CheckedRow:
    """Return the row at ``place``, its ``values`` given by column. Raises UserError for a value that can't be used."""
    return CheckedRow(
        place,
        text=checked_text(place, columns.text, values[columns.text]),
        pair=None if columns.pair is None else checked_text(place, columns.pair, values[columns.pair]),
        label=_label(place, columns.label, values[columns.label]),
        group=None if columns.group is None else _group(place, columns.group, values[columns.group]),
    )


def checked_text(place: str, column: str, value: object) -> str:
    """Return a text as it stands. Raises UserError for none, blanks, another type, and halves of a character."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UserError(f"{place}: empty text in column {column!r}")
    if not isinstance(value, str):
        raise UserError(f"{place}: column {column!r} holds {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise UserError(f"{place}: column {column!r} is not valid Unicode") from error
    return value


def _label(place: str, column: str, value: object) -> str:
    """Return a label as a word. Raises UserError for none, another type, and several labels in one row."""
    word = str(value).strip()
    if isinstance(value, list | tuple | dict | set) or (word[:1] == "[" and word[-1:] == "]"):
        raise UserError(f"{place}: column {column!r} holds several labels; multi-label targets are not supported")
    if value is None or not word or (isinstance(value, float) and math.isnan(value)):
        raise UserError(f"{place}: empty label in column {column!r}")
    if not isinstance(value, str | int | float | Decimal):
        raise UserError(f"{place}: column {column!r} holds {type(value).__name__}, not a label")
    return checked_text(place, column, word)


def _group(place: str, column: str, value: object) -> str | None:
    """Return a hash that stands for the group; None for an empty one: rows without a group are not one group."""
    if value is None or not str(value).strip() or (isinstance(value, float) and math.isnan(value)):
        return None
    return text_hash(checked_text(place, column, str(value).strip()))


def _number(label: str) -> Decimal | None:
    """Return the label as a number of fewer than 20 digits; None where it is none, NaN or infinite."""
    try:
        number = Decimal(label)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 19 else None


def _whole(label: str) -> int | None:
    """Return the label as a whole number (``2`` and ``2.0`` are one); None where it is none."""
    number = _number(label)
    return int(number) if number is not None and number == int(number) else None


def _class_names(rows: dict[str, list[CheckedRow]], source: str) -> dict[str, str]:
    """Return the class name of each label as it stands. Raises UserError for regression and for a single class."""
    places = {row.label: row.place for part in rows.values() for row in reversed(part)}
    names = {label: label for label in places}
    if all(_number(label) is not None for label in places):
        for label, place in places.items():
            if _whole(label) is None:
                raise UserError(f"{place}: label {label} looks like regression, which is not supported")
        names = {label: str(_whole(label)) for label in places}
        if len(set(names.values())) > MAX_NUMERIC_LABELS:
            raise UserError(f"{source}: {len(places)} numeric labels look like regression, which is not supported")
    classes = {names[row.label] for row in rows["train"]}
    if len(classes) < 2:
        raise UserError(f"{source}: every label of train is {classes.pop()!r}; at least two classes are needed")
    return names
