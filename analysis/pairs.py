"""Every pair of rows of score tables, the best row's among them, as a list and as a CSV file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.compare import Comparison
from analysis.tables.render import escape_csv
from analysis.tables.table import Table


@dataclass(frozen=True)
class Pair:
    """A row of a column minus another, which is the best of the column or has the better mean."""

    column: str
    row: str
    minus: str
    comparison: Comparison


def every_pair(table: Table) -> list[Pair]:
    """Return each pair of rows that both have a score, column by column, those with the best row first.

    Columns without a best row are left out.
    """
    return [
        Pair(table.spec.columns[column], table.spec.rows[row].label, table.spec.rows[minus].label, one)
        for (column, row, minus), one in table.pairs.items()
        if one.difference is not None
    ]


def pairs_csv(tables: Sequence[Table]) -> str:
    """Return a line for each pair of rows of ``tables``, in the units of the metrics; empty where there is none.

    ``p_corrected`` and ``correction`` are over all pairs of a table, as in its marks.
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
