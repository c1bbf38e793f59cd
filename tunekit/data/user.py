"""A user's own data: CSV, JSON Lines or Parquet, one file (split 80/10/10) or a folder with train, test and maybe dev.

Labels become classes here: whole numbers and words do, anything that looks like regression or multi-label is refused.
"""

from __future__ import annotations

import math
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


class _Row(NamedTuple):
    """One checked row; ``place`` is its file and line, for messages."""

    place: str
    text: str
    pair: str | None
    label: str
    group: str | None


def read_user_dataset(
    path: Path,
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str = "label",
    group_column: str | None = None,
) -> TextDataset:
    """The data at ``path`` as a data set called ``<slug of the stem>-<content hash>``; the path itself never enters.

    A single file is split 80/10/10: stratified, one text or group never in two splits, the same for the same content.
    Without a group column a row's group is its text; with one, rows of the same group, or of the same text and pair,
    stay together. A folder needs train and test files, and may hold one of dev, val or validation.
    Raises UserError, one line with file and line (Parquet: row), for everything that cannot be trained on.
    """
    path = Path(path)
    if len({text_column, label_column, pair_column}) < 3:
        raise UserError(
            f"text, pair and label must be different columns, got {text_column}, {pair_column}, {label_column}"
        )
    is_folder = path.is_dir()
    files = _split_files(path) if is_folder else {"train": path}
    rows = {s: _read_file(f, text_column, pair_column, label_column, group_column) for s, f in files.items()}
    names = _class_names(rows, path)
    numeric = all(_whole(name) is not None for name in names.values())
    label_names = tuple(sorted(set(names.values()), key=int if numeric else str))
    for split, part in rows.items():
        trained = {names[row.label] for row in rows["train"]}
        for row in part:
            if names[row.label] not in trained:
                raise UserError(f"{row.place}: label {row.label[:60]!r} of {split} never occurs in train")
    index = {label: label_names.index(name) for label, name in names.items()}
    splits = {
        split: make_frame(
            [row.text for row in part],
            [index[row.label] for row in part],
            pairs=None if pair_column is None else [row.pair for row in part],
            groups=[text_hash(row.text) if row.group is None else row.group for row in part],
        )
        for split, part in rows.items()
    }
    if "test" not in splits:
        whole = splits["train"]
        parts = draw_parts(whole, WITH_DEV if "val" in splits else SHARES, SPLIT_SEED)
        if not all(parts.values()):
            raise UserError(f"{path}: too few rows, or groups, to split 80/10/10; pass a folder with train and test")
        splits |= {split: whole.iloc[part].reset_index(drop=True) for split, part in parts.items()}
    digest = content_hash(splits, label_names)
    stem = path.resolve().name if is_folder else path.stem
    return make_dataset(
        f"{slug(stem)[:47].rstrip('-.')}-{digest}",
        splits,
        display_name=stem,
        label_names=label_names,
        content_hash=digest,
        pair_as="pair",
    )


def _split_files(folder: Path) -> dict[str, Path]:
    """Split -> its one file in ``folder``. Raises UserError where train is missing or one has two files."""
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


def _read_file(path: Path, text: str, pair: str | None, label: str, group: str | None) -> list[_Row]:
    """All rows of a file, each value checked for its role."""
    columns = list(dict.fromkeys(column for column in (text, label, pair, group) if column is not None))
    rows = []
    for place, values in read_rows(path, columns):
        cells = dict(zip(columns, values, strict=True))
        rows.append(
            _Row(
                place,
                text=checked_text(place, text, cells[text]),
                pair=None if pair is None else checked_text(place, pair, cells[pair]),
                label=_label(place, label, cells[label]),
                group=None if group is None else _group(place, group, cells[group]),
            )
        )
    if not rows:
        raise UserError(f"{path}: no rows")
    return rows


def checked_text(place: str, column: str, value: object) -> str:
    """A text as it stands. Raises UserError for none, blanks, another type, and halves of a character."""
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
    """A label as a word. Raises UserError for none, another type, and several labels in one row."""
    word = str(value).strip()
    if isinstance(value, list | tuple | dict | set) or (word[:1] == "[" and word[-1:] == "]"):
        raise UserError(f"{place}: column {column!r} holds several labels; multi-label targets are not supported")
    if value is None or not word or (isinstance(value, float) and math.isnan(value)):
        raise UserError(f"{place}: empty label in column {column!r}")
    if not isinstance(value, str | int | float | Decimal):
        raise UserError(f"{place}: column {column!r} holds {type(value).__name__}, not a label")
    return checked_text(place, column, word)


def _group(place: str, column: str, value: object) -> str | None:
    """A hash that stands for the group; None for an empty one: rows without a group are not one group."""
    if value is None or not str(value).strip():
        return None
    return text_hash(checked_text(place, column, str(value).strip()))


def _number(label: str) -> Decimal | None:
    """The label as a finite number of sane size, else None."""
    try:
        number = Decimal(label)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 19 else None


def _whole(label: str) -> int | None:
    """The label as a whole number (``2`` and ``2.0`` are), else None."""
    number = _number(label)
    return int(number) if number is not None and number == int(number) else None


def _class_names(rows: dict[str, list[_Row]], path: Path) -> dict[str, str]:
    """Label as written -> class name. Raises UserError for regression targets and for a single class in train."""
    places = {row.label: row.place for part in rows.values() for row in reversed(part)}
    names = {label: label for label in places}
    if all(_number(label) is not None for label in places):
        for label, place in places.items():
            if _whole(label) is None:
                raise UserError(f"{place}: label {label} looks like regression, which is not supported")
        names = {label: str(_whole(label)) for label in places}
        if len(set(names.values())) > MAX_NUMERIC_LABELS:
            raise UserError(f"{path}: {len(places)} numeric labels look like regression, which is not supported")
    classes = {names[row.label] for row in rows["train"]}
    if len(classes) < 2:
        raise UserError(f"{path}: every label of train is {classes.pop()!r}; at least two classes are needed")
    return names
