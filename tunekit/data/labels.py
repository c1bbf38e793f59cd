"""Labels and the names of their classes. A label is the text in its cell: two different texts are never one class.

Spaces around labels, and the form of whole numbers, are normalised for all labels of a dataset or for none.
"""

import math
import re
import unicodedata
from collections.abc import Collection
from decimal import Decimal
from typing import Any

from tunekit.errors import UserError
from tunekit.parsing import how_many
from tunekit.tasks.bio import is_tag

PLAIN_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
WHOLE_FLOAT = re.compile(r"(-?(?:0|[1-9][0-9]{0,18}))\.0+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
MISSING = {"nan", "NaN", "NAN", "null", "NULL", "Null", "<NA>", "NaT", "#N/A", "\\N"}
"""The marks of programs for a missing value. No class has such a name."""
MAYBE_MISSING = {"none", "na", "n/a", "?", "-", "--", "."}
"""The marks of people for a missing value, in lower case. Some datasets give a class such a name."""
NOTHING_TO_READ = re.compile(r"[\s\ufeff\u200b]*")
"""Blanks, byte order marks and spaces of no width."""
MAX_NUMERIC_LABELS = 200
MOST_NAMED = 10
"""The most classes that a warning names."""


class BadValue(Exception):
    """A value that can't be used: its kind in a word or two, and what is wrong in full."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def checked_text(column: str, value: object) -> str:
    """Return a text unchanged. Raises BadValue for none, blanks, another type, and half of a surrogate pair."""
    if value is None or (isinstance(value, str) and NOTHING_TO_READ.fullmatch(value)):
        raise BadValue("empty text", f"empty text in column {column!r}")
    if not isinstance(value, str):
        raise BadValue("no text", f"column {column!r} holds {type(value).__name__}, not text")
    return _valid(column, value)


def checked_tag(value: object) -> str:
    """Return the tag of a word. Raises BadValue where it is not one of the BIO scheme."""
    if isinstance(value, str) and is_tag(value):
        return value
    other = "; write tags of another scheme in BIO" if str(value)[:2] in ("E-", "S-", "L-", "U-") else ""
    raise BadValue("no tag", f"tag {str(value)[:40]!r} is neither O nor B- or I- and a type{other}")


def joined_words(column: str, value: Any) -> str:
    """Return the words of a text with one space between them. ``value`` is a list of words, or a text with spaces.

    Raises BadValue for another value, no word, and a word that is empty or holds a space.
    """
    words = checked_text(column, value).split() if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise BadValue("no words", f"column {column!r} holds {type(value).__name__}, not a list of words or a text")
    if not words:
        raise BadValue("empty text", f"no words in column {column!r}")
    for word in words:
        if not word or " " in word:
            raise BadValue("no word", f"{word!r} in column {column!r} is no word: it is empty or holds a space")
    return checked_text(column, " ".join(words))


def checked_tags(column: str, value: Any) -> tuple[str, ...]:
    """Return the tags of a text's words. Raises BadValue where there are none, or one is no tag."""
    tags = value.split() if isinstance(value, str) else value
    if not isinstance(tags, list | tuple):
        raise BadValue("no tags", f"column {column!r} holds {type(value).__name__}, not a list of tags or a text")
    return tuple(map(checked_tag, tags))


def checked_bit(column: str, value: object) -> int:
    """Return the 0 or 1 in a column of several labels. Raises BadValue for anything else, and for a missing value."""
    word = value.strip() if isinstance(value, str) else value
    if word is None or word == "" or (isinstance(word, float) and math.isnan(word)):
        raise BadValue("empty label", f"empty label in column {column!r}")
    bits: dict[object, int] = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, 0: 0, 1: 1}  # True is 1 and 1.0 is 1, too
    if not isinstance(word, str | int | float) or word not in bits:
        raise BadValue("neither 0 nor 1", f"column {column!r} holds {str(word)[:40]!r}, which is neither 0 nor 1")
    return bits[word]


def checked_label(column: str, value: object) -> str:
    """Return a label as the text in its cell, including spaces around it.

    Raises BadValue for none, a mark of a missing value, another type, and several labels in one row.
    """
    word = str(value).strip()
    if isinstance(value, list | tuple | dict | set) or (word[:1] == "[" and word[-1:] == "]"):
        raise BadValue(
            "several labels",
            f"column {column!r} holds several labels; --task multi_label takes them, in columns of 0 and 1 or with a "
            "--label-separator",
        )
    if value is None or not word or (isinstance(value, float) and math.isnan(value)):
        raise BadValue("empty label", f"empty label in column {column!r}")
    if word in MISSING:
        raise BadValue("missing label", f"{word!r} in column {column!r} marks a missing label")
    if not isinstance(value, str | int | float | Decimal):
        raise BadValue("no label", f"column {column!r} holds {type(value).__name__}, not a label")
    return _valid(column, str(value))


def _valid(column: str, text: str) -> str:
    """Return ``text``. Raises BadValue for half of a surrogate pair, which JSON can spell."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadValue("broken text", f"column {column!r} is not valid Unicode") from error
    return text


def class_names(labels: Collection[str]) -> dict[str, str]:
    """Return the name of the class of each label, different for different labels.

    Where all labels are plain integers or floats such as ``1.0``, the names are the integers. Otherwise they are the
    labels without the spaces around them. Where that would make one class of two labels, they are the labels unchanged.
    """
    stripped = {label: label.strip() for label in labels}
    whole = {label: _integer(text) for label, text in stripped.items()}
    if all(name is not None for name in whole.values()):
        integers = {label: str(name) for label, name in whole.items()}
        if len(set(integers.values())) == len(integers):
            return integers
    if len(set(stripped.values())) == len(stripped):
        return stripped
    return {label: label for label in labels}


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return the names of classes, sorted: as numbers where all are plain integers, else as texts."""
    numeric = all(PLAIN_INTEGER.fullmatch(name) for name in names)
    return tuple(sorted(names, key=int if numeric else str))


def _integer(text: str) -> str | None:
    """Return the integer of a plain integer, or of a float such as ``1.0``; None for any other text."""
    if PLAIN_INTEGER.fullmatch(text):
        return str(int(text))
    whole = WHOLE_FLOAT.fullmatch(text)
    return str(int(whole[1])) if whole else None


def missing_numbers(labels: Collection[str]) -> set[str]:
    """Return the labels that mark a missing one: those of the only negative integer, such as ``-1`` beside 0 and 1.

    Two classes that are one number with both signs, as ``-1`` and ``1``, are classes.
    """
    integers = {label: _integer(label.strip()) for label in labels}
    negative = {number for number in integers.values() if number is not None and int(number) < 0}
    if len(negative) != 1:
        return set()
    [mark] = negative
    if set(integers.values()) == {mark, str(-int(mark))}:
        return set()
    return {label for label, number in integers.items() if number == mark}


def fraction_among_numbers(labels: Collection[str]) -> str | None:
    """Return the first label that is not whole, where all labels are numbers, as in a regression; else None."""
    if not all(NUMBER.fullmatch(label.strip()) for label in labels):
        return None
    return next((label for label in labels if not _is_whole(label.strip())), None)


def _is_whole(label: str) -> bool:
    number = Decimal(label.replace(",", "."))
    return abs(number.adjusted()) < 19 and number == number.to_integral_value()


def check_classes(names: Collection[str], source: str) -> None:
    """Raise UserError for a single class, and for too many numbers to be classes, as in a regression."""
    if len(names) > MAX_NUMERIC_LABELS and all(_integer(name) is not None for name in names):
        raise UserError(f"{source}: {len(names)} numeric labels look like regression; --task regression declares it")
    if len(names) < 2:
        raise UserError(f"{source}: every label of train is {next(iter(names))!r}; at least two classes are needed")


def lookalikes(names: Collection[str]) -> list[list[str]]:
    """Return the classes that differ in case, in spaces, or in the way that a character or a number is written."""
    alike: dict[str, list[str]] = {}
    for name in names:
        folded = "".join(unicodedata.normalize("NFKC", name).casefold().split()).replace("\u200b", "")
        alike.setdefault(_integer(folded) or folded, []).append(name)
    return [group for group in alike.values() if len(group) > 1]


def warnings(counts: dict[str, int]) -> list[str]:
    """Return a line on each doubtful thing about classes, given the number of rows of each."""
    lines = [
        f"classes {' and '.join(f'{name!r} ({counts[name]})' for name in group)} differ in case, spaces or form alone"
        for group in lookalikes(counts)
    ]
    single = [name for name, number in counts.items() if number == 1]
    if single:
        lines.append(f"classes with one row in all: {', '.join(map(repr, single[:MOST_NAMED]))}; is each a label?")
    for name, number in counts.items():
        if name.strip().casefold() in MAYBE_MISSING:
            lines.append(f"class {name!r} ({how_many(number, 'row')}) may be the mark of a missing label")
    return lines
