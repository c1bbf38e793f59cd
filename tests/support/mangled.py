"""Files of tables with known contents, written by one writer, and what people and programs do to such files."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

Row = tuple[str, str]
"""A text and its label."""
LETTERS = "ab é\N{GRINNING FACE}\N{LEFT DOUBLE QUOTATION MARK}"
SPECIAL = ",;\t|\"'\n\\"
LABELS = (
    ("pos", "neg"),
    ("0", "1", "2"),
    ("1_11", "11_1", "2_1"),
    ("0", "00", "01", "1"),
    ("1e1", "10", "2e0", "3"),
    ("Pos", "pos"),
    ("none", "some"),
)
TEXTS = (
    st.text(LETTERS + SPECIAL, min_size=1, max_size=12)
    .filter(lambda text: text.strip() and "\N{LEFT DOUBLE QUOTATION MARK}" * 2 not in text)
    .filter(lambda text: not text.lstrip(" \t").startswith('"') or text[0] == '"')
)


@st.composite
def contents(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXTS) -> list[Row]:
    """Draw 30 rows; each label occurs often, and no text twice."""
    labels = draw(st.sampled_from(LABELS))
    stems = draw(st.lists(texts, min_size=30, max_size=30))
    # The number keeps the texts apart. It stands where a reader that loses a quote or a space still sees a difference.
    return [(f"{stem}{number}{stem[::-1]}", labels[number % len(labels)]) for number, stem in enumerate(stems)]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a table is written. Every layout holds the same contents and must be read as they are."""

    separator: str = ","
    quoting: int = csv.QUOTE_MINIMAL
    line_end: str = "\n"
    text_first: bool = True
    index: bool = False
    """A column without a name at the left, as pandas writes its index."""
    trailing: int = 0
    """The number of empty columns without a name at the right."""
    named: bool = False
    """A first line that names the separator, as Excel reads it."""
    spaced: tuple[str, str] = ("", "")
    """The spaces before and after each name of the header."""
    blank: int = 0
    """The number of blank lines at the end."""
    encoding: str = "utf-8"
    zipped: bool = False
    suffix: str = ".csv"

    def records(self, rows: list[Row]) -> list[str]:
        """Return the header and each row as they are written, line ends included."""
        names = ["text", "label"] if self.text_first else ["label", "text"]
        table = [[f"{self.spaced[0]}{name}{self.spaced[1]}" for name in names]]
        table += [[text, label] if self.text_first else [label, text] for text, label in rows]
        if self.index:
            table = [["" if number == 0 else str(number), *row] for number, row in enumerate(table)]
        return [self._record([*row, *[""] * self.trailing]) for row in table]

    def _record(self, row: list[str]) -> str:
        buffer = io.StringIO(newline="")
        csv.writer(
            buffer, delimiter=self.separator, quoting=self.quoting, lineterminator=self.line_end
        ).writerow(row)  # fmt: skip
        return buffer.getvalue()

    def text(self, rows: list[Row]) -> str:
        """Return the text of the file."""
        first = f"sep={self.separator}{self.line_end}" if self.named else ""
        return "".join([first, *self.records(rows), self.line_end * self.blank])

    def write(self, folder: Path, text: str) -> Path:
        """Write ``text`` to a file in ``folder`` in the encoding of this layout."""
        content = text.encode(self.encoding)
        path = folder / f"mine{self.suffix}{'.gz' if self.zipped else ''}"
        path.write_bytes(gzip.compress(content) if self.zipped else content)
        return path


LAYOUTS = st.builds(
    Layout,
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    text_first=st.booleans(),
    index=st.booleans(),
    trailing=st.integers(0, 3),
    named=st.booleans(),
    spaced=st.sampled_from([("", ""), ("", " "), ("\t ", "")]),
    blank=st.integers(0, 2),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    zipped=st.booleans(),
    suffix=st.sampled_from([".csv", ".CSV", ".tsv", ".Tsv"]),
)


Records = list[str]
Draw = st.DrawFn


def _insert(draw: Draw, records: Records, what: str) -> str:
    """Put the line ``what`` between two records, below the header."""
    place = draw(st.integers(1, len(records)))
    return "".join([*records[:place], f"{what}\n", *records[place:]])


def _around(draw: Draw, records: Records) -> str:
    """Put a quote where a record begins, and another one, some records below, where a field ends.

    Within one record that is a text of other quotes, which no reader can tell.
    """
    first = draw(st.integers(1, len(records) - 2))
    last = draw(st.integers(first + 1, min(len(records) - 1, first + 12)))
    changed = list(records)
    changed[first] = f'"{changed[first]}'
    changed[last] = changed[last].replace(",", '",', 1)
    return "".join(changed)


def _joined(draw: Draw, records: Records) -> str:
    """Take the separator out of a record. The one that is no part of the text is the first or the last."""
    number = draw(st.integers(1, len(records) - 1))
    label_first = records[0].strip('"').startswith("label")
    cut = records[number].split(",", 1) if label_first else records[number].rsplit(",", 1)
    return "".join([*records[:number], *cut, *records[number + 1 :]])


def _without_quote(draw: Draw, records: Records) -> str:
    """Take the quote that opens or closes a field out of a record."""
    there = [number for number, record in enumerate(records) if number and '"' in record]
    if not there:
        return "".join(records)
    number = draw(st.sampled_from(there))
    record = records[number]
    place = draw(st.sampled_from([record.index('"'), record.rindex('"')]))
    return "".join([*records[:number], record[:place] + record[place + 1 :], *records[number + 1 :]])


def _curly(text: str) -> str:
    """Replace quotes as a word processor does."""
    return "".join(
        part if number == 0 else ("\u201c" if number % 2 else "\u201d") + part
        for number, part in enumerate(text.split('"'))
    )


MANGLERS: dict[str, Callable[[Draw, Records], str]] = {
    "a quote that is never closed": lambda draw, records: _insert(draw, records, '"x,y'),
    "quotes around rows": _around,
    "a quote lost": _without_quote,
    "a separator lost": _joined,
    "a separator too many": lambda draw, records: _insert(draw, records, "a,b,c"),
    "a decimal comma": lambda draw, records: _insert(draw, records, "a,0,5"),
    "a value in no column": lambda draw, records: "".join([records[0].replace("\n", ",\n"), "a,b,c\n", *records[1:]]),
    "backslashes before quotes": lambda draw, records: "".join(records).replace('""', '\\"'),
    "curly quotes": lambda draw, records: _curly("".join(records)),
    "spaces before quotes": lambda draw, records: "".join(re.sub(r'^(\w+|"\w+"),"', r'\1, "', one) for one in records),
    "a NUL": lambda draw, records: _insert(draw, records, "a\0,pos"),
    "the header again": lambda draw, records: _insert(draw, records, records[0].strip()),
    "a file behind another": lambda draw, records: _insert(draw, records, "\ufeff" + records[0].strip()),
    "a footer": lambda draw, records: "".join([*records, "(30 rows)\n"]),
    "empty rows": lambda draw, records: "".join([*records, ",\n,\n"]),
    "a note above the header": lambda draw, records: "".join(["Export of Monday\n\n", *records]),
    "no header": lambda draw, records: "".join(records[1:]),
    "other line ends": lambda draw, records: "".join(records).replace("\n", draw(st.sampled_from(["\r\n", "\r"]))),
    "the separator of another country": lambda draw, records: "".join([records[0].replace(",", ";"), *records[1:]]),
}
"""What people and programs do to a file whose separator is a comma. None of it may change what is read in silence."""


def json_records(rows: list[Row], *, ascii_only: bool = False, label_first: bool = False) -> Records:
    """Return rows as JSON Lines, line ends included; labels that are plain integers are numbers."""
    named = [{"text": text, "label": int(label) if label in ("0", "1", "2") else label} for text, label in rows]
    order = -1 if label_first else 1
    return [json.dumps(dict(list(row.items())[::order]), ensure_ascii=ascii_only) + "\n" for row in named]


def _changed(draw: Draw, records: Records, change: Callable[[str], str]) -> str:
    """Change one record."""
    place = draw(st.integers(0, len(records) - 1))
    return "".join([*records[:place], change(records[place]), *records[place + 1 :]])


JSON_MANGLERS: dict[str, Callable[[Draw, Records], str]] = {
    "an array": lambda draw, records: "[" + ",".join(records) + "]",
    "commas at the ends": lambda draw, records: "".join(record.replace("}\n", "},\n") for record in records),
    "single quotes": lambda draw, records: _changed(draw, records, lambda record: f"{json.loads(record)!r}\n"),
    "a key twice": lambda draw, records: _changed(
        draw, records, lambda record: record.replace("{", '{"text": "x", ', 1)
    ),
    "no label": lambda draw, records: _changed(draw, records, lambda record: '{"text": "x"}\n'),
    "null": lambda draw, records: _changed(draw, records, lambda record: '{"text": "x", "label": null}\n'),
    "NaN": lambda draw, records: _changed(draw, records, lambda record: '{"text": "x", "label": NaN}\n'),
    "two records in a line": lambda draw, records: _changed(draw, records, lambda record: record.strip() + record),
    "lines broken": lambda draw, records: _changed(draw, records, lambda record: record.replace(": ", ":\n", 1)),
    "a number for a text": lambda draw, records: _changed(draw, records, lambda record: '{"text": 1, "label": "x"}\n'),
    "cut off": lambda draw, records: "".join(records)[: -draw(st.integers(2, 9))],
    "CSV below": lambda draw, records: "".join([*records, "x,pos\n"]),
}
"""What people and programs do to JSON Lines."""
