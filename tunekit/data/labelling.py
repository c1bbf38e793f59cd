"""Read the labels of a user's own rows. There is an entry for each task that the user can declare.

A value that can't be a label of the declared task is refused, never taken for one of another task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from tunekit.data.labels import (
    MISSING,
    BadValue,
    check_classes,
    checked_bit,
    checked_label,
    checked_tags,
    checked_text,
    class_names,
    fraction_among_numbers,
    in_order,
    joined_words,
    lookalikes,
    missing_numbers,
)
from tunekit.data.rows import BadRow, FileRows
from tunekit.errors import UserError
from tunekit.tasks.bio import OUTSIDE, tag_names


class CheckedRow(NamedTuple):
    """One row whose values can be trained on."""

    number: int
    """The number of the line or row where it begins in its file, from 1."""
    text: str
    pair: str | None
    label: Any
    """The label as its task's ``Labelling.value`` returns it."""
    group: str | None
    """A hash that stands for the group; None for a row without one."""


Read = Mapping[str, FileRows]
"""The rows of each split as they were read."""
Checked = Mapping[str, Sequence[CheckedRow]]
"""The rows of each split that can be used."""


class Labels(NamedTuple):
    """The labels of a dataset."""

    names: tuple[str, ...]
    """The names of the head's outputs, as ``DatasetInfo.label_names`` has them."""
    of_rows: Callable[[CheckedRow], Any]
    """The label of a row, as a split's column ``label`` holds it."""


@dataclass(frozen=True)
class Labelling:
    """The functions that read the labels of one task, and its texts where these are not the usual ones."""

    value: Callable[[Sequence[str], Sequence[Any]], Any]
    """``value(columns, values)`` returns the label in one row's label columns. Raises BadValue where it is none."""
    labels: Callable[[Checked, Sequence[str], str], Labels]
    """``labels(rows, columns, source)`` returns the labels of all rows. Raises UserError where none can be learnt."""
    text: Callable[[str, Any], str] = checked_text
    """``text(column, value)`` returns the text of a row. Raises BadValue where it is none."""
    fits: Callable[[CheckedRow], None] = lambda row: None
    """Raises BadValue where the text and the label of a row do not fit each other."""
    of_words: bool = False
    """Whether each word of a text has a label. Files that are neither JSON Lines nor Parquet are then CoNLL files."""
    several: bool = False
    """Whether a row may have several labels, in columns of 0 and 1 or in one column with a separator."""
    without_odd: Callable[[Read, Checked], tuple[Checked, list[BadRow]]] = lambda read, checked: (checked, [])
    """``without_odd(read, checked)`` returns the rows without those of odd labels, and these. Raises UserError."""


# -- classification ---------------------------------------------------------------------------------------------------


def _class(columns: Sequence[str], values: Sequence[Any]) -> str:
    return checked_label(columns[0], values[0])


def _class_labels(checked: Checked, columns: Sequence[str], source: str) -> Labels:
    names = class_names({row.label for part in checked.values() for row in part})
    label_names = in_order(set(names.values()))
    check_classes({names[row.label] for row in checked["train"]}, source)
    index = {label: label_names.index(class_name) for label, class_name in names.items()}
    return Labels(label_names, lambda row: index[row.label])


def _check_regression(rows: Read, checked: Checked) -> None:
    """Raise UserError with the place of the first label that is no whole number, where all labels are numbers."""
    label = fraction_among_numbers(dict.fromkeys(row.label for part in checked.values() for row in part))
    for split, part in checked.items():
        for row in part:
            if row.label == label:
                read = rows[split]
                raise UserError(
                    f"{read.source}, {read.unit} {row.number}: label {str(label).strip()} looks like regression; "
                    "--task regression declares it"
                )


def _without_odd_classes(rows: Read, checked: Checked) -> tuple[Checked, list[BadRow]]:
    """Return the rows without bad ones, and these: their label marks a missing one, or never occurs in train."""
    _check_regression(rows, checked)
    labels = {row.label for part in checked.values() for row in part}
    marks = missing_numbers(labels)
    trained = {row.label for row in checked["train"]}
    kept: dict[str, list[CheckedRow]] = {}
    bad = []
    for split, part in checked.items():
        kept[split] = []
        for row in part:
            if row.label in marks:
                reason = f"label {row.label.strip()!r} marks a missing label (if it is a class, give it a name)"
                bad.append(rows[split].bad_row(row.number, "missing label", reason))
            elif row.label not in trained:
                reason = f"label {row.label[:60]!r} of {split} never occurs in train{_alike(row.label, trained)}"
                bad.append(rows[split].bad_row(row.number, "label not in train", reason))
            else:
                kept[split].append(row)
    return kept, bad


def _alike(label: str, known: Iterable[str]) -> str:
    """Return ``; train has 'x'``, where x in ``known`` looks like ``label``; "" where there is no such label."""
    found = [one for group in lookalikes([label, *known]) if label in group for one in group if one != label]
    return f"; train has {found[0][:60]!r}" if found else ""


# -- regression -------------------------------------------------------------------------------------------------------


def checked_number(column: str, value: object) -> float:
    """Return a target as a float. Raises BadValue where it is missing, is no number, or is not finite.

    A text is a number as Python writes it: ``3``, ``-0.5`` or ``1e3``; a comma is no decimal point.
    """
    word = value.strip() if isinstance(value, str) else value
    if word is None or word == "" or (isinstance(word, float) and math.isnan(word)):
        raise BadValue("empty target", f"empty target in column {column!r}")
    if isinstance(word, str) and word in MISSING:
        raise BadValue("missing target", f"{word!r} in column {column!r} marks a missing target")
    if isinstance(word, bool) or not isinstance(word, str | int | float | Decimal):
        raise BadValue("no number", f"column {column!r} holds {type(value).__name__}, not a number")
    number: float | None
    try:
        number = float(word)
    except (ValueError, OverflowError):
        number = None
    # float() reads 1_000 as 1000, which no file means.
    if number is None or "_" in str(word):
        raise BadValue("no number", f"column {column!r} holds {str(word)[:40]!r}, which is no number")
    if not math.isfinite(number):
        raise BadValue("no finite number", f"column {column!r} holds {str(word)[:40]!r}, which is not finite")
    return number + 0.0  # without the sign of a zero


def _number(columns: Sequence[str], values: Sequence[Any]) -> float:
    return checked_number(columns[0], values[0])


def _number_labels(checked: Checked, columns: Sequence[str], source: str) -> Labels:
    first = checked["train"][0].label
    if all(row.label == first for row in checked["train"]):
        raise UserError(f"{source}: every target of train is {first:g}; a regression needs targets that differ")
    return Labels((columns[0],), lambda row: row.label)


# -- several labels ---------------------------------------------------------------------------------------------------


def _bits(columns: Sequence[str], values: Sequence[Any]) -> tuple[int, ...]:
    return tuple(checked_bit(column, value) for column, value in zip(columns, values, strict=True))


def _bit_labels(checked: Checked, columns: Sequence[str], source: str) -> Labels:
    _check_trained([name for n, name in enumerate(columns) if any(row.label[n] for row in checked["train"])], source)
    return Labels(tuple(columns), lambda row: row.label)


def _separated(separator: str) -> Callable[[Sequence[str], Sequence[Any]], frozenset[str]]:
    """Return the function that reads the labels of one cell, with ``separator`` between. An empty cell has none."""

    def value(columns: Sequence[str], values: Sequence[Any]) -> frozenset[str]:
        cell = values[0]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return frozenset()
        if not isinstance(cell, str):
            raise BadValue("no labels", f"column {columns[0]!r} holds {type(cell).__name__}, not a text of labels")
        parts = [checked_label(columns[0], part).strip() for part in cell.split(separator)]
        return frozenset(parts)

    return value


def _listed(columns: Sequence[str], values: Sequence[Any]) -> frozenset[str]:
    """Return the labels that a list holds; an empty list has none."""
    if not isinstance(values[0], list | tuple):
        reason = (
            f"column {columns[0]!r} holds {type(values[0]).__name__}, not a list of labels; multi_label takes several "
            "label columns of 0 and 1, or one with --label-separator, or lists"
        )
        raise BadValue("no list", reason)
    return frozenset(checked_label(columns[0], one).strip() for one in values[0])


def _separated_labels(checked: Checked, columns: Sequence[str], source: str) -> Labels:
    names = in_order({name for part in checked.values() for row in part for name in row.label})
    _check_trained([name for name in names if any(name in row.label for row in checked["train"])], source)
    return Labels(names, lambda row: tuple(int(name in row.label) for name in names))


def _without_unknown_labels(rows: Read, checked: Checked) -> tuple[Checked, list[BadRow]]:
    """Return the rows without bad ones, and these: rows of val and test with a label that never occurs in train."""
    trained = {name for row in checked["train"] for name in row.label}
    kept: dict[str, list[CheckedRow]] = {}
    bad = []
    for split, part in checked.items():
        kept[split] = [row for row in part if trained.issuperset(row.label)]
        for row in part:
            if unknown := sorted(set(row.label) - trained):
                reason = f"label {unknown[0][:60]!r} of {split} never occurs in train{_alike(unknown[0], trained)}"
                bad.append(rows[split].bad_row(row.number, "label not in train", reason))
    return kept, bad


def _check_trained(trained: Sequence[str], source: str) -> None:
    """Raise UserError where fewer than two labels occur in train."""
    if len(trained) < 2:
        there = f"only {trained[0]!r}" if trained else "none"
        raise UserError(f"{source}: of the labels, {there} occurs in train; at least two are needed")


# -- tags of words ----------------------------------------------------------------------------------------------------


def _tags(columns: Sequence[str], values: Sequence[Any]) -> tuple[str, ...]:
    return checked_tags(columns[0], values[0])


def _as_many_tags(row: CheckedRow) -> None:
    if row.pair is not None:
        raise BadValue("a pair", "a text whose words have tags has no second text")
    words = row.text.count(" ") + 1
    if words != len(row.label):
        raise BadValue("not a tag a word", f"{words} words and {len(row.label)} tags")


def _tag_labels(checked: Checked, columns: Sequence[str], source: str) -> Labels:
    if not any(tag != OUTSIDE for row in checked["train"] for tag in row.label):
        raise UserError(f"{source}: every tag of train is {OUTSIDE!r}; there must be entities")
    names = tag_names(tag for part in checked.values() for row in part for tag in row.label)
    return Labels(names, lambda row: " ".join(row.label))


LABELLINGS: dict[str, Labelling] = {
    "classification": Labelling(value=_class, labels=_class_labels, without_odd=_without_odd_classes),
    "regression": Labelling(value=_number, labels=_number_labels),
    "multi_label": Labelling(value=_bits, labels=_bit_labels, several=True),
    "token_classification": Labelling(
        value=_tags,
        labels=_tag_labels,
        text=joined_words,
        fits=_as_many_tags,
        of_words=True,
        without_odd=_without_unknown_labels,
    ),
}
"""The reading of labels by the name of the task that the user declares."""


def labelling_of(task: str, columns: Sequence[str], separator: str | None, source: str) -> Labelling:
    """Return the reading of the labels of ``task`` in ``columns``, or in one column with a ``separator`` between them.

    Raises UserError for a task that users' own data can't have, and for columns or a separator that it does not take.
    """
    if task not in LABELLINGS:
        raise UserError(f"{source}: there is no task {task!r} for data of your own (there are {', '.join(LABELLINGS)})")
    found = LABELLINGS[task]
    if not found.several and (len(columns) > 1 or separator is not None):
        what = f"label columns {', '.join(columns)} are" if len(columns) > 1 else "a label separator is"
        raise UserError(f"{source}: {what} for --task multi_label; {task} takes one label a row")
    if not found.several:
        return found
    if separator is not None and len(columns) > 1:
        raise UserError(f"{source}: give several label columns, or one with a label separator, not both")
    if separator is None and len(columns) > 1:
        return found
    read = _listed if separator is None else _separated(separator)
    return Labelling(read, _separated_labels, several=True, without_odd=_without_unknown_labels)
