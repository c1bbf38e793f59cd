"""Files in the format of the CoNLL shared tasks: a word and its tag on each line, and a blank line after each sentence.

Columns are separated by tabs or by spaces. The word is the first column and the tag the last one, unless the user names
others: by their numbers from 1, or by their names in a header or in a line ``# global.columns = FORM UPOS NER``. Lines
of ``-DOCSTART-`` end a sentence and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunekit.data import text_files
from tunekit.data.labels import BadValue, checked_tag
from tunekit.data.rows import FileRows, empty_rows, missing_column
from tunekit.errors import UserError
from tunekit.parsing import how_many
from tunekit.tasks.bio import is_tag

_PLAIN = (".conll", ".bio", ".iob", ".iob2", ".tsv", ".txt")
SUFFIXES = (*_PLAIN, *(f"{suffix}.gz" for suffix in _PLAIN))
"""The endings of CoNLL files in a folder. A file that is named by itself may have any ending."""
GLOBAL_COLUMNS = "# global.columns ="
DOCUMENT = "-DOCSTART-"


class _Places(NamedTuple):
    """The columns of the word and the tag, from 0, and the number of columns of a line."""

    word: int
    tag: int | None
    width: int


def read_conll(path: Path, text: str, label: str | None, *, separator: str | None = None) -> FileRows:
    """Return the sentences of a file: lists of words in the column ``text`` and of their tags in ``label``.

    ``text`` and ``label`` name the columns. Where no header has the names ``text`` and ``label``, they mean the first
    and the last column. A ``label`` of None reads words alone. A row's number is the line where its sentence begins.

    Raises UserError, with file and line, for a file that can't be read, and for a missing column. A sentence with a
    line of another number of columns, or without a tag, is a bad row with the number of that line.
    """
    content, notes = text_files.read_text(path)
    lines = [line.rstrip("\r") for line in content.split("\n")]
    reader = _Reader(empty_rows(str(path), "line", [text] if label is None else [text, label]), lines, text, label)
    reader.rows.notes.extend(notes)
    for number, line in enumerate([*lines, ""], start=1):
        reader.take(number, line, _fields(line, separator))
    return reader.finish()


class _Reader:
    """Collects the lines of a file into sentences."""

    def __init__(self, rows: FileRows, lines: Sequence[str], text: str, label: str | None) -> None:
        self.rows, self.text, self.label = rows, text, label
        named = next((line for line in lines if line.startswith(GLOBAL_COLUMNS)), None)
        self.names = None if named is None else named.removeprefix(GLOBAL_COLUMNS).split()
        self.places: _Places | None = None
        self.documents = self.comments = 0
        self._begin_sentence()

    def _begin_sentence(self) -> None:
        self.words, self.tags, self.begin, self.is_bad = list[str](), list[str](), 0, False

    def take(self, number: int, line: str, fields: Sequence[str]) -> None:
        """Read the line ``number``. Raises UserError where it shows that there is no such column."""
        if not fields or fields[0] == DOCUMENT:
            self.documents += bool(fields)
            if self.begin and not self.is_bad:
                self.rows.keep(self.begin, [self.words, self.tags][: len(self.rows.values)])
            self._begin_sentence()
        elif not self.begin and _is_comment(line, fields, self.places):
            self.comments += 1
        elif self.places is not None or not self._is_header(number, fields):
            self._take_word(number, fields)

    def _is_header(self, number: int, fields: Sequence[str]) -> bool:
        """Find the columns of words and tags by the first line. Return whether that line is a header of names."""
        is_header = self.names is None and {self.text, self.label} - {None} <= set(fields)
        names = fields if is_header else self.names
        self.places = _places(self.rows.source, number, names, len(fields), self.text, self.label)
        return is_header

    def _take_word(self, number: int, fields: Sequence[str]) -> None:
        """Add the word on the line ``number``, or refuse its sentence at the first wrong line."""
        assert self.places is not None
        self.begin = self.begin or number
        if self.is_bad:
            return
        try:
            if len(fields) != self.places.width:
                reason = f"{len(fields)} columns, and {self.places.width} on the lines before"
                raise BadValue("other number of columns", reason)
            self.words.append(fields[self.places.word])
            if self.places.tag is not None:
                self.tags.append(checked_tag(fields[self.places.tag]))
        except BadValue as error:
            self.rows.refuse(number, error.kind, error.reason)
            self.is_bad = True

    def finish(self) -> FileRows:
        """Return the sentences, with notes on the lines that were left out."""
        if self.documents:
            self.rows.notes.append(f"{how_many(self.documents, 'line')} of {DOCUMENT} left out")
        if self.comments:
            self.rows.notes.append(f"{how_many(self.comments, 'comment')} left out (lines with #)")
        return self.rows


def _fields(line: str, separator: str | None) -> list[str]:
    """Return the fields of a line, split at tabs if it has any, else at spaces; none for a blank line."""
    if not line.strip():
        return []
    if separator is None and "\t" not in line:
        return [field for field in line.split(" ") if field]
    return [field.strip(" ") for field in line.rstrip("\t").split(separator or "\t")]


def _is_comment(line: str, fields: Sequence[str], places: _Places | None) -> bool:
    """Return whether a line before a sentence's first word is a comment, and not a word ``#`` with its tag."""
    if not line.startswith("#") or places is None:
        return line.startswith("# ") and not is_tag(fields[-1])
    return len(fields) != places.width or (places.tag is not None and not is_tag(fields[places.tag]))


def _places(source: str, number: int, names: Sequence[str] | None, width: int, text: str, label: str | None) -> _Places:
    """Return the columns of word and tag, for lines of ``width`` columns with ``names``, if any. Raises UserError."""

    def place(name: str, usual: str, at: int) -> int:
        if names is not None and name in names:
            return list(names).index(name)
        if name == usual:
            return at
        if name.isdigit() and 1 <= int(name) <= width:
            return int(name) - 1
        there = names if names is not None else [str(one) for one in range(1, width + 1)]
        raise UserError(f"{source}, line {number}: {missing_column(name, there)}")

    word, tag = place(text, "text", 0), None if label is None else place(label, "label", width - 1)
    if word == tag:
        raise UserError(
            f"{source}, line {number}: one column; a line has a word and its tag, by a tab or spaces between"
        )
    return _Places(word, tag, width)
