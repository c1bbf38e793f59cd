"""A filled table as files of Markdown, LaTeX, CSV and HTML, with text escaped for each format."""

import csv
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from analysis.tables.latex import latex
from analysis.tables.table import NO_ENTRY, Entry, Table, html_table, row_texts


def escape_markdown(text: str) -> str:
    """Return ``text`` as Markdown that shows it, in a table cell too."""
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    return re.sub(r"([\\`*_\[\]|#$~])", r"\\\1", plain).replace("<", "&lt;").replace(">", "&gt;")


def escape_csv(text: str) -> str:
    """Return ``text`` in a form that no spreadsheet reads as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text


def markdown(table: Table) -> str:
    """Return a pipe table, its caption above and its notes below."""

    def entry(one: Entry) -> str:
        text = escape_markdown(one.text)
        mark = ("†" if one.dagger else "") + (f" <sup>{one.marks}</sup>" if one.marks else "")
        return (f"**{text}**" if one.bold else text) + mark

    head = ["", *map(escape_markdown, table.spec.columns.values())]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * len(table.spec.columns)}"]
    for number, row in enumerate(table.spec.rows):
        lines.append(f"| {' | '.join([escape_markdown(row.label), *row_texts(table, number, entry)])} |")
    notes = [f"- {escape_markdown(note)}" for note in table.notes]
    return "\n".join([f"**{escape_markdown(table.spec.caption)}**", "", *lines, "", *notes, ""])


def comma_separated(table: Table) -> str:
    """Return one line an entry: its score, its comparison with the best of its column, and the single values.

    ``configuration`` are the settings, where the method was trained with several. Scores and differences are in [0, 1];
    ``difference``, its 95 % interval and both p are those of the row minus the best of its column, empty for the best
    itself and where nothing was compared.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("row", "column", "metric", *NO_ENTRY.facts))
    for (number, column), entry in table.entries.items():
        facts = entry.facts
        facts["configuration"] = escape_csv(facts["configuration"])
        facts |= {"tested": int(facts["tested"]), "values": " ".join(map(repr, facts["values"]))}
        names = (table.spec.rows[number].label, column, table.spec.metric)
        writer.writerow([*map(escape_csv, names), *facts.values()])
    return buffer.getvalue()


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "md": markdown,
    "tex": latex,
    "csv": comma_separated,
    "html": html_table,
}


def write(table: Table, folder: Path) -> list[Path]:
    """Write ``table`` in every format as ``folder/<stem>.<format>``. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, render in FORMATS.items():
        path = folder / f"{table.spec.stem}.{suffix}"
        path.write_text(render(table), encoding="utf-8")
        written.append(path)
    return written
