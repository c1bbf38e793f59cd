"""Rows of CSV text and its relatives, with any separator. Ambiguous text is refused, never guessed.

The separator is the one of the file's suffix, unless the header shows another. A quote that was never closed swallows
the rows up to the next quote. Such a field is found by the rows that it holds.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from tunekit.data.rows import FileRows, empty_rows, missing_column
from tunekit.errors import UserError
from tunekit.parsing import how_many

Quotes = Literal["auto", "fields", "none"]
"""``auto`` and ``fields`` read quotes as CSV does; ``auto`` refuses a field that holds rows. With ``none`` a quote is a
character like any other."""
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
"""The separators that are tried, and their names."""
MANY_ROWS = 5
"""A field is taken for swallowed rows if it holds this many lines, each with as many fields as the header."""
SEP_LINE = re.compile(r'"?sep=(.)"?')
"""The first line with which Excel names the separator."""
LINE_END = re.compile(r"\r\n|\r|\n")
STRAY_QUOTES = {
    re.compile(r'^[ \t]+"'): "spaces stand between the separator and a quote",
    re.compile('""'): "doubled quotes in a field that is not quoted",
    re.compile(r'\\"'): "a backslash before a quote; CSV doubles a quote",
    re.compile("^[\u201c\u201d\u201e](?=.*[\u201c\u201d\u201e]{2}).*[\u201c\u201d\u201e]$", re.DOTALL): (
        "doubled curly quotes; CSV needs straight ones"
    ),
}
"""Quotes that CSV takes for characters of the text, although they were hardly meant so, and what is wrong with them."""


class _Lines(NamedTuple):
    """A row that takes several lines."""

    number: int
    """The first of its lines."""
    end: int
    """The last of its lines."""
    label_line: int | None
    """The one of its lines, from 0, that holds the label; None where the label takes several lines or is not known."""


class _Header(NamedTuple):
    """The names of the columns."""

    names: list[str]
    """The names as written, without empty ones at the right."""
    num_fields: int
    """The number of fields of the line."""
    num_lines: int
    """The number of lines that it takes."""

    def places(self, column: str) -> list[int]:
        """Return the places of the columns with exactly this name, else with this name and spaces around it."""
        exact = [place for place, name in enumerate(self.names) if name == column]
        return exact or [place for place, name in enumerate(self.names) if name.strip() == column]


def read_delimited(
    source: str,
    text: str,
    columns: Sequence[str],
    own: str,
    *,
    separator: str | None = None,
    quotes: Quotes = "auto",
    label: str | None = None,
) -> FileRows:
    """Return the rows of ``text``, which has a header, with the bad rows and their defects.

    ``own`` is the separator of the file's kind. ``separator`` is the user's; None lets the reader find it. ``label``
    names the column whose values tell swallowed rows from a text of several lines. Raises UserError where a column is
    missing, quotes are broken, or a field holds rows.
    """
    lines = list(io.StringIO(text, newline=""))
    rows = empty_rows(source, "line", columns)
    named = SEP_LINE.fullmatch(lines[0].strip("\r\n"))
    first = 1 if named else 0
    if named and separator not in (None, named[1]):
        raise UserError(f"{source}, line 1: the file names the separator {named[1]!r}, --separator {separator!r}")
    found = separator or (named[1] if named else _separator(lines, own, columns, quotes))
    if separator is None and found != own:
        rows.notes.append(f"separated by {SEPARATORS.get(found, repr(found))}")
    header = _header(lines[first:], found, quotes)
    _require(f"{source}, line {first + 1}", columns, header)
    _Reader(rows, lines, found, quotes, header, columns).read(first + header.num_lines, label)
    return rows


def _options(separator: str, quotes: Quotes, spaced: bool = False) -> dict[str, object]:
    """Return the arguments of ``csv.reader``."""
    quoting = csv.QUOTE_NONE if quotes == "none" else csv.QUOTE_MINIMAL
    return {"delimiter": separator, "quoting": quoting, "strict": True, "skipinitialspace": spaced}


def _header(lines: Iterable[str], separator: str, quotes: Quotes) -> _Header:
    """Return the header of ``lines`` under a separator. It has no names where it is broken CSV."""
    reader = csv.reader(lines, **_options(separator, quotes))  # type: ignore[arg-type]
    try:
        fields = next(reader, [])
    except csv.Error:
        return _Header([], 0, 1)
    names = list(fields)
    while names and not names[-1].strip():
        names.pop()
    return _Header(names, len(fields), reader.line_num)


def _separator(lines: Sequence[str], own: str, columns: Sequence[str], quotes: Quotes) -> str:
    """Return the first separator, ``own`` before others, under which the header has all ``columns``; else ``own``."""
    for separator in (own, *SEPARATORS):
        header = _header(lines, separator, quotes)
        if all(header.places(column) for column in columns):
            return separator
    return own


def _require(place: str, columns: Sequence[str], header: _Header) -> None:
    """Raise UserError for a column that is missing or there twice."""
    for column in columns:
        places = header.places(column)
        if not places:
            raise UserError(f"{place}: {missing_column(column, header.names)}")
        if len(places) > 1:
            raise UserError(f"{place}: the column name {column!r} occurs twice")


class _Reader:
    """Reads the rows below a header into ``rows``."""

    def __init__(
        self, rows: FileRows, lines: list[str], separator: str, quotes: Quotes, header: _Header, columns: Sequence[str]
    ) -> None:
        self.rows, self.lines, self.separator, self.quotes, self.header = rows, lines, separator, quotes, header
        self.places = [header.places(column)[0] for column in columns]
        # As in "text, label": the header shows that a space follows each separator, in the header and in each row.
        self.spaced = len(header.names) > 1 and all(name[:1] == " " for name in header.names[1:])
        self.by_column = dict(zip(columns, self.places, strict=True))

    def read(self, first: int, label: str | None) -> None:
        """Read all rows from the line with index ``first``."""
        source = self.rows.source
        options = _options(self.separator, self.quotes, self.spaced)
        reader = csv.reader(iter(self.lines[first:]), **options)  # type: ignore[arg-type]
        several: list[_Lines] = []
        number = first + 1
        try:
            for row in reader:
                end = first + reader.line_num
                if row:
                    self._row(number, row, "".join(self.lines[number - 1 : end]))
                if end > number:
                    several.append(_Lines(number, end, None if label is None else self._line_of(label, row)))
                number = end + 1
        except csv.Error as error:
            hint = "" if self.quotes == "none" else "; with --quotes none a quote is a character like any other"
            raise UserError(f"{source}, line {number}: broken CSV ({error}){hint}") from error
        if several and self.quotes != "none":
            self._check_swallowed(several, label)

    def _row(self, number: int, row: list[str], written: str) -> None:
        """Keep a row, whose text in the file is ``written``, or refuse it with the reason."""
        names, source = self.header.names, self.rows
        if len(row) not in (len(names), self.header.num_fields):
            source.refuse(
                number, "wrong number of fields", f"{how_many(len(row), 'field')}, the header has {len(names)}"
            )
        elif any(field.strip() for field in row[len(names) :]):
            source.refuse(number, "wrong number of fields", "a value in a column that has no name")
        elif not any(field.strip() for field in row):
            source.refuse(number, "empty row", "an empty row")
        elif [field.strip(' \t\ufeff"') for field in row[: len(names)]] == [name.strip() for name in names]:
            source.refuse(number, "repeated header", "the header again")
        elif any("\0" in field for field in row):
            source.refuse(number, "broken text", "a NUL character")
        elif self.quotes != "none" and (wrong := next(filter(None, (self._quoting(one, written) for one in row)), "")):
            source.refuse(number, "broken quotes", wrong)
        elif self.spaced and f"{self.separator}  " in written:
            source.refuse(number, "several spaces", "several spaces after a separator; the header has one")
        else:
            source.keep(number, [row[place] for place in self.places])

    def _quoting(self, field: str, written: str) -> str:
        """Return what is wrong with the quotes of a field, in a row whose text is ``written``; "" where nothing is.

        CSV takes such quotes for characters of the text, but they were hardly meant so. They are looked for in fields
        without quotes around them, since in a quoted field each quote is doubled.
        """
        found = next((reason for sign, reason in STRAY_QUOTES.items() if sign.search(field)), "")
        if not found:
            return ""
        before = f"{self.separator} " if self.spaced else self.separator
        return found if written.startswith(field) or f"{before}{field}" in written else ""

    def _line_of(self, label: str, row: list[str]) -> int | None:
        """Return the line of a row, from 0, that holds its label; None where the label takes several lines."""
        place = self.by_column[label]
        if len(row) <= place or LINE_END.search(row[place]):
            return None
        return sum(len(LINE_END.findall(field)) for field in row[:place])

    def _check_swallowed(self, several: Sequence[_Lines], label: str | None) -> None:
        """Raise UserError where a row of several lines holds other rows; else note which rows hold line ends."""
        found = self._swallowed(several, label) if self.quotes == "auto" else []
        if found:
            number, end, _ = found[0]
            more = f" (and {len(found) - 1} more such fields)" if len(found) > 1 else ""
            raise UserError(
                f"{self.rows.source}, line {number}: one field holds {end - number} line ends, from line {number} on, "
                f"and its lines look like rows{more}: is a quote not closed? With --quotes none a quote is a character "
                "like any other, with --quotes fields the field is read as it is"
            )
        longest = max(several, key=lambda row: row.end - row.number)
        holding = "1 row holds" if len(several) == 1 else f"{len(several)} rows hold"
        most = longest.end - longest.number
        self.rows.notes.append(f"{holding} line ends, at most {most}, from line {longest.number} on")

    def _swallowed(self, several: Sequence[_Lines], label: str | None) -> list[_Lines]:
        """Return those of the rows of several lines that hold other rows.

        The label of a true row is on one of its lines. Another line with as many fields as the header, and with a label
        that other rows have too, is a row of its own.
        """
        widths = (len(self.header.names), self.header.num_fields)
        if widths[0] < 2:
            return []
        whole: set[_Lines] = set()
        brought: dict[_Lines, list[str]] = {}
        for row in several:
            lines = [line.rstrip("\r\n").split(self.separator) for line in self.lines[row.number - 1 : row.end]]
            full = {place: line for place, line in enumerate(lines) if len(line) in widths}
            if len(full) == sum(line != [""] for line in lines) >= MANY_ROWS:
                whole.add(row)
            if label is not None:
                place = self.by_column[label]
                brought[row] = [line[place].strip('"') for number, line in full.items() if number != row.label_line]
        if label is None:
            return [row for row in several if row in whole]
        own = set(self.rows.values[label])
        times = Counter(word for words in brought.values() for word in words if word and not re.search(r"\s", word))
        often = {word for word, number in times.items() if number > 1}

        def brings_rows(row: _Lines) -> bool:
            """Return whether a line has a label of another row, or two lines have labels that only such lines have."""
            words = brought[row]
            return any(word in own for word in words) or (
                row.label_line is not None and sum(word in often for word in words) > 1
            )

        return [row for row in several if row in whole or brings_rows(row)]
