"""A user's own data: one file of a table (split 80/10/10), or a folder with train, test and maybe dev.

The checks and the split serve other sources too, such as a DataFrame (``tunekit.data.frame``). A row that can't be used
is never left out in silence: all such rows are refused at once, or left out and counted where that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunekit.data import conll
from tunekit.data.base import DEFAULT_TASK, TextDataset, content_hash, make_dataset, make_frame, own_name, text_hash
from tunekit.data.conll import read_conll
from tunekit.data.delimited import Quotes
from tunekit.data.labelling import CheckedRow, Labelling, labelling_of
from tunekit.data.labels import MISSING, BadValue, checked_text
from tunekit.data.rows import BadRow, FileRows, bad_rows_error, kinds
from tunekit.data.splitting import draw_parts
from tunekit.data.tables import LISTS, SUFFIXES, read_table, stem_of, suffix_of
from tunekit.errors import UserError
from tunekit.schema import slug

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}
WITH_DEV = {"train": 0.9, "test": 0.1}
VAL_SHARE, MOST_VAL = 0.1, 5_000
"""The share of train that is drawn for validation where a test split was named, and the most rows that are drawn.

More rows would tell little more about an epoch, and all of them are scored after each epoch.
"""
SPLIT_SEED = 0
STEMS = {"train": ("train",), "val": ("dev", "val", "validation"), "test": ("test",)}
SKIP_FLAG = "--skip-bad-rows"


class Columns(NamedTuple):
    """The names of the columns that hold the values of a row; None where there is no such column."""

    text: str
    pair: str | None
    labels: tuple[str, ...]
    """The columns of the label: one, or the 0/1 columns of several labels."""
    group: str | None
    label_separator: str | None = None
    """The text between the labels of a row where one column holds several; None for one label a column."""

    def used(self) -> list[str]:
        """Return the names of the columns that are given, each once."""
        names = (self.text, *self.labels, self.pair, self.group)
        return list(dict.fromkeys(name for name in names if name is not None))

    def check(self) -> None:
        """Raise UserError where two of text, pair and the labels are one column."""
        if len({self.text, *self.labels, self.pair}) < 2 + len(self.labels):
            raise UserError(
                f"text, pair and label must be different columns, got {self.text}, {self.pair}, "
                f"{', '.join(self.labels)}"
            )


def read_user_dataset(
    path: Path,
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str | Sequence[str] = "label",
    group_column: str | None = None,
    separator: str | None = None,
    quotes: Quotes = "auto",
    skip_bad_rows: bool = False,
    task: str = DEFAULT_TASK,
    label_separator: str | None = None,
    name: str | None = None,
    primary_metric: str | None = None,
) -> TextDataset:
    """Return the data at ``path`` as a dataset called ``<slug of the stem>-<content hash>``; the path never enters.

    A folder needs train and test files, and may hold one of dev, val or validation. A single file, and a folder without
    a test file, is split as ``dataset_of_rows`` says. Without a group column, the group of a row is its text; with one,
    rows of the same group, or of the same text and pair, stay together.

    Where words have labels, a file that is neither JSON Lines nor Parquet is one of ``tunekit.data.conll``.
    ``separator`` and ``quotes`` say how CSV is read, as in ``read_table``. With ``skip_bad_rows``, rows that can't be
    used are left out, and ``left_out`` of the dataset counts them. ``task`` is the task that the labels are read for.
    One label column may hold several labels with ``label_separator`` between. ``name`` replaces the path's stem, and
    ``primary_metric`` is as in ``dataset_of_rows``.

    Raises UserError, one line with file and line (Parquet: row), for everything that can't be trained on.
    """
    path = Path(path)
    labels = (label_column,) if isinstance(label_column, str) else tuple(label_column)
    columns = Columns(text_column, pair_column, labels, group_column, label_separator)
    columns.check()
    of_words = labelling_of(task, labels, label_separator, str(path)).of_words
    suffixes = (*LISTS, *conll.SUFFIXES) if of_words else SUFFIXES
    files = _split_files(path, suffixes) if path.is_dir() else {"train": path}
    if not of_words and path.is_file() and (ending := _ending_of_tags(path)):
        raise UserError(
            f"{path}: a {ending} file holds words and their tags, which --task token_classification reads; {task} "
            f"reads {', '.join(SUFFIXES)}"
        )
    rows = {
        split: read_conll(file, columns.text, labels[0], separator=separator)
        if of_words and not suffix_of(file, LISTS)
        else read_table(file, columns.used(), label=labels[0], separator=separator, quotes=quotes)
        for split, file in files.items()
    }
    name = name or (path.resolve().name if path.is_dir() else stem_of(path, suffixes))
    return dataset_of_rows(
        rows, columns, str(path), name, skip_bad_rows=skip_bad_rows, task=task, primary_metric=primary_metric
    )


def dataset_of_rows(
    rows: Mapping[str, FileRows],
    columns: Columns,
    source: str,
    name: str,
    *,
    skip_bad_rows: bool = False,
    skip_flag: str = SKIP_FLAG,
    way_out: str = "give train and test apart",
    task: str = DEFAULT_TASK,
    primary_metric: str | None = None,
    draw_val: bool = False,
) -> TextDataset:
    """Return the dataset of the rows of each split, which ``own_name`` names after ``name``.

    ``rows`` has train, and maybe val and test; ``source`` names the data in messages, ``skip_flag`` is how the user
    asks for ``skip_bad_rows``, and ``way_out`` says what to do where there are too few rows to split. Where there is no
    test split, it is drawn out of train: 80 % of the rows stay in train, 10 % become val and 10 % test; where val is
    given, 90 % stay in train and 10 % become test. The draw is stratified by label, keeps rows of one text or group
    together, and is the same for the same content. With ``draw_val``, validation is drawn likewise beside a given test
    split: a tenth of train, at most ``MOST_VAL`` rows. ``split_note`` of the dataset says what was done.

    ``task`` is the task that the user has declared, which says what a label is (``tunekit.data.labelling``), and
    ``primary_metric`` the metric to choose by, where that is another than the task's own.

    Raises UserError, one line with the places of the rows, for rows that can't be used unless ``skip_bad_rows``, an
    unknown task, labels that look like those of another, a single class, targets that are all equal, and too few rows
    to split.
    """
    labelling = labelling_of(task, columns.labels, columns.label_separator, source)
    checked, bad = {}, list[BadRow]()
    for split, read in rows.items():
        checked[split], found = check_rows(read, columns, labelling)
        bad += [*read.bad, *found]
        if not read.numbers and not read.bad:
            raise UserError(f"{read.source}: no rows")
    kept, found = labelling.without_odd(rows, checked)
    bad += found
    if bad and not skip_bad_rows:
        raise bad_rows_error(sorted(bad, key=_order(rows)), source, skip_flag if all(kept.values()) else None)
    for split, part in kept.items():
        if not part:
            raise UserError(f"{rows[split].source}: no row of {split} is left, since all are bad")
    labels = labelling.labels(kept, columns.labels, source)
    splits = {
        split: make_frame(
            [row.text for row in part],
            list(map(labels.of_rows, part)),
            pairs=[row.pair for row in part],
            groups=[text_hash(row.text) if row.group is None else row.group for row in part],
        )
        for split, part in kept.items()
    }
    note = f"its splits are those given: {', '.join(splits)}"
    shares: dict[str, float] = {}
    if "test" not in splits:
        shares = WITH_DEV if "val" in splits else SHARES
    elif draw_val and "val" not in splits:
        share = min(VAL_SHARE, MOST_VAL / len(splits["train"]))
        shares = {"train": 1 - share, "val": share}
    if shares:
        whole = splits["train"]
        parts = draw_parts(whole, shares, SPLIT_SEED)
        if not all(parts.values()):
            split_up = "/".join(f"{100 * share:.0f}" for share in shares.values())
            raise UserError(f"{source}: too few rows, or groups, to split {split_up}; {way_out}")
        splits |= {split: whole.iloc[part].reset_index(drop=True) for split, part in parts.items()}
        drawn = ", ".join(f"{_percent(share)} {split}" for split, share in shares.items())
        which = "rows" if len(rows) == 1 else "train rows"
        note = f"its {which} are split {drawn}: stratified by label, rows of one text or group together"
    digest = content_hash(splits, labels.names)
    return make_dataset(
        own_name(slug(name)[:47].rstrip("-."), digest, task, primary_metric),
        splits,
        display_name=name,
        label_names=labels.names,
        content_hash=digest,
        pair_as="pair",
        split_note=note,
        reading_notes=_notes(rows),
        left_out=kinds(bad),
    )


def _percent(share: float) -> str:
    """Return a share as ``80%``, with a digit behind the point where it is not whole."""
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


def _split_files(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Return the one file of each split in ``folder``, whose name ends in one of ``suffixes``.

    Raises UserError where train is missing or a split has two files.
    """
    files = {}
    there = sorted(file for file in folder.iterdir() if suffix_of(file, suffixes) and file.is_file())
    for split, stems in STEMS.items():
        found = [file for file in there if stem_of(file, suffixes).lower() in stems]
        if len(found) > 1:
            raise UserError(f"{folder}: {' and '.join(f.name for f in found)} are both {split}; keep one")
        if found:
            files[split] = found[0]
        elif split == "train":
            tags = [file.name for file in folder.iterdir() if _ending_of_tags(file) and file.name.startswith(split)]
            hint = f"; {tags[0]} is read with --task token_classification" if tags and suffixes == SUFFIXES else ""
            raise UserError(
                f"{folder}: no {split} file; there must be one of {split}{f', {split}'.join(suffixes)}{hint}"
            )
    return files


def _ending_of_tags(file: Path) -> str:
    """Return the ending of a file that can hold nothing but words and their tags; "" for any other file."""
    return "" if suffix_of(file) else suffix_of(file, conll.SUFFIXES)


def check_rows(rows: FileRows, columns: Columns, labelling: Labelling) -> tuple[list[CheckedRow], list[BadRow]]:
    """Return the rows that can be trained on, and those with a value that can't be used."""
    checked, bad = list[CheckedRow](), list[BadRow]()
    values = rows.values
    for place, number in enumerate(rows.numbers):
        try:
            row = CheckedRow(
                number,
                text=labelling.text(columns.text, values[columns.text][place]),
                pair=None if columns.pair is None else checked_text(columns.pair, values[columns.pair][place]),
                label=labelling.value(columns.labels, [values[column][place] for column in columns.labels]),
                group=None if columns.group is None else _group(columns.group, values[columns.group][place]),
            )
            labelling.fits(row)
        except BadValue as error:
            bad.append(rows.bad_row(number, error.kind, error.reason))
        else:
            checked.append(row)
    return checked, bad


def _group(column: str, value: object) -> str | None:
    """Return a hash that stands for the group. It is None for an empty one: rows without a group are not one group."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    word = str(value).strip()
    return None if not word or word in MISSING else text_hash(checked_text(column, word))


def _notes(rows: Mapping[str, FileRows]) -> tuple[str, ...]:
    """Return the notes of the readers, each with the name of its file."""
    return tuple(f"{Path(read.source).name}: {note}" for read in rows.values() for note in read.notes)


def _order(rows: Mapping[str, FileRows]) -> Callable[[BadRow], tuple[int, int]]:
    """Return the key that sorts bad rows by file, in the order of the splits, and by their numbers in the file."""
    sources = [read.source for read in rows.values()]
    return lambda row: (sources.index(row.source), row.number)
