"""All pairs of rows of score tables, as a list and as a CSV file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from analysis.compare import Comparison, compare
from analysis.tables.render import escape_csv
from analysis.tables.table import Table


@dataclass(frozen=True)
class Pair:
    """A row of a column minus another, which has the higher mean."""

    column: str
    row: str
    minus: str
    comparison: Comparison
    """The comparison by the table's test. Where ``minus`` is the best of its column, it is the one of the table's marks
    with the corrected p. Elsewhere it has no corrected p, since a table asks which rows are worse than the best."""


def every_pair(table: Table) -> list[Pair]:
    """Return each pair of rows that both have a score, column by column, pairs with the best row first.

    Columns without a best row are left out. Raises DamagedRecord where stored predictions can't be read.
    """
    found = []
    for column, best in table.best.items():
        shown = [number for number in range(len(table.spec.rows)) if _mean(table, number, column) is not None]
        sign = table.entries[best, column].score.measure.sign
        others = sorted(
            (number for number in shown if number != best), key=lambda n: -sign * (_mean(table, n, column) or 0)
        )
        for higher, lower in combinations([best, *others], 2):
            row, minus = (table.spec.rows[number].label for number in (lower, higher))
            found.append(Pair(table.spec.columns[column], row, minus, _comparison(table, column, lower, higher)))
    return found


def pairs_csv(tables: Sequence[Table]) -> str:
    """Return CSV with a line for each pair of rows of ``tables``, in the metrics' units; empty where there is none.

    ``p_corrected`` and ``correction`` are those of the tables' marks, and empty for pairs without the best row. Raises
    DamagedRecord where stored predictions can't be read.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    found = [(table.spec, one) for table in tables for one in every_pair(table)]
    for number, (spec, one) in enumerate(found):
        facts = one.comparison.facts
        if number == 0:
            writer.writerow(("table", "metric", "column", "row", "minus", *facts))
        names = (spec.stem, spec.metric, one.column, one.row, one.minus)
        writer.writerow([*map(escape_csv, names), *facts.values()])
    return buffer.getvalue()


def _mean(table: Table, number: int, column: str) -> float | None:
    entry = table.entries.get((number, column))
    return entry.score.sample.mean if entry and entry.score.sample else None


def _comparison(table: Table, column: str, lower: int, higher: int) -> Comparison:
    """Return the comparison of two rows, which is the one of the table's marks if the higher row is the best."""
    one, other = (table.entries[number, column] for number in (lower, higher))
    if higher == table.best[column] and one.versus is not None:
        return one.versus
    return compare(one.score, other.score)
