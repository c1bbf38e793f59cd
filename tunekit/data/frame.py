"""A user's own data in a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekit.data.base import DEFAULT_TASK, SPLITS, TextDataset
from tunekit.data.rows import bad_rows_error, empty_rows
from tunekit.data.user import STEMS, Columns, dataset_of_rows
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

if TYPE_CHECKING:
    from pandas import DataFrame

SPLIT_OF = {word: split for split, words in STEMS.items() for word in words}
"""The split that each value of a split column names: dev and validation are val."""


def dataset(
    frame: DataFrame,
    *,
    text: str,
    label: str | Sequence[str],
    pair: str | None = None,
    group: str | None = None,
    split: str | None = None,
    name: str = "frame",
    task: str = DEFAULT_TASK,
    label_separator: str | None = None,
    skip_bad_rows: bool = False,
) -> TextDataset:
    """Return the rows of ``frame`` as a dataset called ``<slug of name>-<content hash>``.

    The dataset is a copy: later changes of ``frame`` do not reach it, and its index has no meaning.

    ``text``, ``pair`` and ``label`` name the columns of the text, of a second text that the model reads after it, and
    of the class. A label is the text in its cell; a whole column of integers, or of floats such as ``1.0``, gives
    classes that are named by the integers. Rows with the same value of the column ``group``, such as sentences of one
    document, are never separated. Without it a row's group is its text.

    The column ``split`` says of each row whether it is train, val (or dev, validation) or test. Without it, 80 % of the
    rows become train, 10 % val and 10 % test. Where it names train and val alone, 10 % of train become test, and where
    it names train and test, there is no val. The draw is stratified by label and the same for the same content.
    ``split_note`` of the dataset says how its rows were split. ``tk.summarise`` shows how the data was understood: the
    rows of each class, repeated and contradictory rows, and doubtful ones. A plan shows the same.

    ``task`` is the task that trials on the dataset learn: ``classification``, ``regression``, whose label is a finite
    number, ``multi_label``, or ``token_classification``: text and label are then lists of words and of their tags
    (``O``, ``B-X``, ``I-X``), or texts with spaces between them. Several labels are given by several columns of 0 and
    1, whose names ``label`` lists, or by one column of texts with ``label_separator`` between them; an empty text has
    none. A task other than classification is part of the dataset's name.

    Rows that can't be used, such as those without a text or label, are refused all at once, with their numbers counted
    from 1. ``skip_bad_rows=True`` leaves them out, and ``left_out`` of the dataset counts them.

    Raises UserError, one line, for rows that can't be used, a column that is missing or there twice, an unknown task,
    classes that look like regression, fewer than two classes, targets that are all equal, an unknown split, and too few
    rows to split.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"a dataset is made of a pandas DataFrame, not of {type(frame).__name__}")
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"the name of a dataset is a text, not {name!r}")
    labels = (label,) if isinstance(label, str) else tuple(label)
    columns = Columns(text, pair, labels, group, label_separator)
    columns.check()
    used = [*columns.used(), *([] if split is None or split in columns.used() else [split])]
    values = {column: _values(frame, column, name) for column in used}
    if not len(frame):
        raise UserError(f"{name}: no rows")
    rows = {part: empty_rows(name, "row", columns.used()) for part in SPLITS}
    for number in range(1, len(frame) + 1):
        row = [values[column][number - 1] for column in columns.used()]
        word = "train" if split is None else values[split][number - 1]
        part = SPLIT_OF.get(word.strip().lower()) if isinstance(word, str) else None
        if part is None:
            reason = f"column {split!r} holds {word!r}; a split is train, val, dev, validation or test"
            rows["train"].refuse(number, "no such split", reason)
        else:
            rows[part].keep(number, row)
    if not rows["train"].numbers:
        if rows["train"].bad:
            raise bad_rows_error(rows["train"].bad, name)
        raise UserError(f"{name}: no row is train in column {split!r}")
    way_out = "name a column with split= that says which rows are train, val and test"
    if split is not None:
        way_out = f"mark rows of test in the column of split={split!r}"
    return dataset_of_rows(
        {part: own for part, own in rows.items() if own.numbers},
        columns,
        name,
        name,
        skip_bad_rows=skip_bad_rows,
        skip_flag="skip_bad_rows=True",
        way_out=way_out,
        task=task,
    )


def _values(frame: DataFrame, column: str, name: str) -> list[Any]:
    """Return the values of a column as Python's own, None for missing ones. Raises UserError for no such column."""
    import numpy as np
    import pandas as pd

    if frame.columns.nlevels > 1:
        raise UserError(f"{name}: its columns have {frame.columns.nlevels} levels; give a frame with one level")
    places = [place for place, own in enumerate(frame.columns) if isinstance(own, str) and own == column]
    if not places:
        known = [str(own)[:40] for own in frame.columns[:20]]
        there = ", ".join(map(repr, known)) or "none"
        raise UserError(f"{name}: no column {column!r}{did_you_mean(column, known)}; there are: {there}")
    if len(places) > 1:
        raise UserError(f"{name}: column {column!r} occurs {len(places)} times")
    found = []
    for value in frame.iloc[:, places[0]].tolist():
        plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        # pd.isna answers for one value at a time; for a list it would give an array.
        found.append(None if pd.api.types.is_scalar(plain) and pd.isna(plain) else plain)
    return found
