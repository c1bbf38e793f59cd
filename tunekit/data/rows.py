"""The rows of one file or frame as they were read, and the bad rows, which can't be used."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

MOST_SHOWN = 10
"""The most bad rows that a message names."""


class BadRow(NamedTuple):
    """A row that can't be used, and why."""

    source: str
    """The file or frame."""
    unit: str
    """The unit that ``number`` counts from 1: ``line`` or ``row``."""
    number: int
    kind: str
    """The defect in a word or two, the same for all rows of this kind, as in ``empty label``."""
    reason: str
    """The defect in full."""


@dataclass(frozen=True, kw_only=True)
class FileRows:
    """The values of some columns of one file or frame, row by row and unchanged."""

    source: str
    """The file or frame, for messages."""
    unit: str
    """The unit that ``numbers`` count from 1: ``line`` or ``row``."""
    numbers: list[int] = field(default_factory=list)
    """The line or row where each row begins."""
    values: dict[str, list[Any]] = field(default_factory=dict)
    """The values of each column. CSV gives texts; the other formats give values of other types too, and None."""
    bad: list[BadRow] = field(default_factory=list)
    """The rows that could not be read. They are not among ``numbers`` and ``values``."""
    notes: list[str] = field(default_factory=list)
    """Lines on what the reader found out about the file by itself, such as its separator."""

    def keep(self, number: int, values: Sequence[Any]) -> None:
        """Add a row: the line or row where it begins, and its values in the order of the columns."""
        self.numbers.append(number)
        for column, value in zip(self.values.values(), values, strict=True):
            column.append(value)

    def refuse(self, number: int, kind: str, reason: str) -> None:
        """Add a bad row."""
        self.bad.append(self.bad_row(number, kind, reason))

    def bad_row(self, number: int, kind: str, reason: str) -> BadRow:
        """Return a bad row of this file."""
        return BadRow(self.source, self.unit, number, kind, reason)


def empty_rows(source: str, unit: str, columns: Sequence[str]) -> FileRows:
    """Return a FileRows of ``columns`` without any row yet."""
    return FileRows(source=source, unit=unit, values={column: [] for column in columns})


def missing_column(column: str, present: Sequence[str]) -> str:
    """Return the message that there is no such column, with the columns that exist and the flag that names another."""
    there = ", ".join(repr(name[:40]) for name in list(present)[:20]) or "none"
    flag = f"; --{column}-column names it" if column in ("text", "pair", "label") else ""
    alike = [name for name in present if name.casefold() == column.casefold()]
    hint = did_you_mean(column, present) if not alike else f", did you mean {alike[0]!r}?"
    return f"no column {column!r}{hint} (there are: {there}){flag}"


def kinds(bad: Sequence[BadRow]) -> dict[str, int]:
    """Return the number of bad rows of each kind, the most frequent first."""
    return dict(Counter(row.kind for row in bad).most_common())


def bad_rows_error(bad: Sequence[BadRow], source: str, skip_flag: str | None = None) -> UserError:
    """Return the error of all ``bad`` rows of ``source`` at once: how many, and the first ten with their places.

    ``skip_flag`` is the flag by which the user can leave them out, if that is possible.
    """
    if len(bad) == 1:
        [row] = bad
        return UserError(f"{row.source}, {row.unit} {row.number}: {row.reason}{_way_out(skip_flag, 'it')}")
    several = len({row.source for row in bad}) > 1
    groups: dict[tuple[str, str, str], list[int]] = {}
    for row in bad[:MOST_SHOWN]:
        name = f"{Path(row.source).name}, " if several else ""
        groups.setdefault((name, row.unit, row.reason), []).append(row.number)
    parts = [
        f"{name}{unit}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}: {reason}"
        for (name, unit, reason), numbers in groups.items()
    ]
    if len(bad) > MOST_SHOWN:
        counts = ", ".join(f"{number} {kind}" for kind, number in kinds(bad).items())
        parts.append(f"and {len(bad) - MOST_SHOWN} more ({counts} in all)")
    where = source if several else bad[0].source
    return UserError(f"{where}: {len(bad)} bad rows: {'; '.join(parts)}{_way_out(skip_flag, 'them')}")


def _way_out(skip_flag: str | None, rows: str) -> str:
    return "" if skip_flag is None else f"; {skip_flag} leaves {rows} out"
