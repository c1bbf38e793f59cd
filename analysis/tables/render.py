"""A filled table as files: Markdown, LaTeX (booktabs), CSV and HTML. Text is escaped for each format."""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

from analysis.tables.table import Entry, Table, html_table, row_texts

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "†": r"\textsuperscript{\dag}", "·": r"$\cdot$",
    "–": "--", "—": "---", "’": "'", "→": r"$\to$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$",
    "ß": r"\ss{}", "\xa0": "~",
}  # fmt: skip


# Grave, acute, circumflex, tilde, macron, breve, dot, diaeresis, ring, double acute, caron, cedilla.
_ACCENTS = {chr(code) for code in (*range(0x300, 0x305), 0x306, 0x307, 0x308, 0x30A, 0x30B, 0x30C, 0x327)}


def escape_tex(text: str) -> str:
    """Return ``text`` as LaTeX that prints it without further packages.

    Control characters become spaces, and characters that pdflatex may have no glyph for their code points.
    """
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)
    return "".join(_TEX.get(c) or (c if _is_set(c) else f"[U+{ord(c):04X}]") for c in plain)


def _is_set(character: str) -> bool:
    """Return whether it is ASCII, or an ASCII letter with one of the accents of TeX's own fonts."""
    base = unicodedata.normalize("NFD", character)
    return base.isascii() or (character <= "\u017f" and base[0].isascii() and base[1] in _ACCENTS)


def escape_markdown(text: str) -> str:
    """Return ``text`` as Markdown that shows it, in a table cell too."""
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    return re.sub(r"([\\`*_\[\]|#$~])", r"\\\1", plain).replace("<", "&lt;").replace(">", "&gt;")


def escape_csv(text: str) -> str:
    """Return ``text`` that no spreadsheet takes for a formula."""
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


def latex(table: Table) -> str:
    """Return a booktabs table environment; ``\\usepackage{booktabs}`` is all it needs."""

    def entry(one: Entry) -> str:
        text = escape_tex(one.text)
        mark = ("\\dag" if one.dagger else "") + (f"\\mathrm{{{one.marks}}}" if one.marks else "")
        return (rf"\textbf{{{text}}}" if one.bold else text) + (f"$^{{{mark}}}$" if mark else "")

    head = " & ".join(["", *map(escape_tex, table.spec.columns.values())])
    body = [
        " & ".join([escape_tex(row.label), *row_texts(table, number, entry)]) + r" \\"
        for number, row in enumerate(table.spec.rows)
    ]
    notes = r"\par ".join(escape_tex(note) for note in table.notes)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape_tex(table.spec.caption)}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9-]', '-', table.spec.stem.lower())}}}",
        r"\smallskip",
        rf"\begin{{tabular}}{{l{'r' * len(table.spec.columns)}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\par\smallskip{{\footnotesize {notes}\par}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


CSV_HEAD = (
    *("row", "column", "metric", "configuration", "mean", "std", "n", "expected", "standing", "tested", "holds_for"),
    *("test", "p", "p_holm", "difference", "low", "high", "reason", "values"),
)


def comma_separated(table: Table) -> str:
    """Return one line an entry: its score, its comparison with the best of its column, and the single values.

    ``configuration`` are the settings, where the method was trained with several. Scores and differences are in [0, 1];
    ``difference``, its 95 % interval and both p are those of the row minus the best of its column, empty for the best
    itself and where nothing was compared.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for (number, column), entry in table.entries.items():
        sample, one = entry.score.sample, entry.versus
        texts = (table.spec.rows[number].label, column, table.spec.metric, entry.score.configuration)
        numbers = (None, None, 0) if sample is None else (sample.mean, sample.std, sample.n)
        standing = (entry.score.expected, entry.standing.value, int(one is not None and one.tested))
        compared: tuple[object, ...] = (None,) * 8
        if one is not None:
            holds_for = one.population.value if one.tested else None
            compared = (holds_for, one.test, one.p, one.p_holm, one.difference, one.low, one.high, one.reason)
        values = "" if sample is None else " ".join(map(repr, sample.values))
        writer.writerow([*map(escape_csv, texts), *numbers, *standing, *compared, values])
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
