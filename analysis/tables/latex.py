"""Tables as LaTeX for papers of one and of two columns: a table that fits goes into a column, others across the page.

Every table needs the packages ``array``, ``booktabs`` and ``threeparttable``, and says so in its first line. Scores
have fixed digits, and mean and spread a column each, so that they align on the point in every class and version of TeX.
A table with more rows or columns than a page holds comes in parts.
"""

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.tables.table import Entry, Table

COLUMN, PAGE = 50, 92
"""The characters of ``\\small`` that the narrowest column of usual classes holds (ACL, 219 pt), and the narrowest page
(NeurIPS, 397 pt)."""
PAGE_LINES = 46
"""The lines of a table and its notes that a page holds."""
_GAP = 2  # between two columns, in characters
_HEADING = 16  # a longer heading is wrapped
_LABEL = 20  # a row's label is wrapped to no less
_MOST_LINES = 8  # a row of more lines can't be read as one

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "†": r"$^\dagger$", "·": r"$\cdot$", "−": "$-$", "×": r"$\times$",
    "→": r"$\to$", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "°": r"$^\circ$", "µ": r"$\mu$", "§": r"\S{}",
    "–": "--", "—": "---", "…": r"\ldots{}", "’": "'", "‘": "`", "“": "``", "”": "''", '"': "''", "`": "{`}",
    "[": "{[}", "*": "{*}",  # an option and the star of \\ where a row begins with them
    "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "\xa0": "~",
}  # fmt: skip
# Grave, acute, circumflex, tilde, macron, breve, dot, diaeresis, ring, double acute, caron, cedilla.
_ACCENTS = {chr(code) for code in (*range(0x300, 0x305), 0x306, 0x307, 0x308, 0x30A, 0x30B, 0x30C, 0x327)}


def escape_tex(text: str) -> str:
    """Return ``text`` as LaTeX that prints it without further packages.

    Control characters become spaces, and a character for which pdflatex may have no glyph becomes its code point.
    """
    pairs = pairwise(f"{_printable(text)} ")
    # Two hyphens in a row would be printed as a dash.
    return "".join(_TEX.get(c, c) + ("{}" if c == after == "-" else "") for c, after in pairs)


def latex(table: Table) -> str:
    """Return the float of a score table, or several where a page can't hold all of it."""
    columns = [_column(table, name) for name in table.spec.columns]
    labels = [row.label for row in table.spec.rows]
    longest = max(map(_width, labels), default=0)
    taken = sum(one.width + _GAP for one in columns)
    wide = longest + taken > COLUMN
    room = min(longest, max(_LABEL, PAGE - math.ceil(taken)))
    wrapped = longest > room
    first = _wrapped(room) if wrapped else "l"
    lines = [math.ceil(_width(label) / room) if wrapped else 1 for label in labels]
    rows = [[_breakable(label) if wrapped else escape_tex(label)] for label in labels]
    parts = []
    for group in _groups(columns, PAGE - room) if wide else [columns]:
        score = rf"*{{{len(group)}}}{{r@{{\extracolsep{{0pt}}\,}}r@{{}}l@{{\extracolsep{{\fill}}}}}}"
        head = ["", *(rf"\multicolumn{{3}}{{c}}{{{one.heading}}}" for one in group)]
        for shown in _pages(lines, table.notes, wide):
            body = [[*rows[n], *(text for one in group for text in one.texts[n])] for n in shown]
            parts.append(_Part(rf"{first}@{{\extracolsep{{\fill}}}}{score}", head, body))
    return _floats(parts, table.spec.caption, table.spec.stem, table.notes, wide)


def latex_texts(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    stem: str = "",
    notes: Sequence[str] = (),
) -> str:
    """Return a table of texts as one float or several, or a list of the rows where its columns would be too narrow.

    Without ``stem`` it has no label that a paper can refer to.
    """
    natural = [max(1.0, *map(_width, [*_lines(name), *(row[n] for row in rows)])) for n, name in enumerate(head)]
    gaps = _GAP * (len(head) - 1)
    columns = [
        _Texts(_lines(name), [row[n] for row in rows], natural[n], share)
        for n, (name, share) in enumerate(zip(head, _shares(natural, PAGE - gaps), strict=True))
    ]
    lines = [max(math.ceil(_width(one.texts[n]) / one.share) for one in columns) for n in range(len(rows))]
    if max(lines, default=0) > _MOST_LINES or any(one.share < one.least for one in columns):
        return _list(head, rows, (caption, *notes))
    wide = sum(natural) + gaps > COLUMN
    preamble = r"@{\extracolsep{\fill}}".join(_wrapped(one.share) if one.wrapped else "l" for one in columns)
    heading = [_stacked(one.heading, "l") for one in columns]
    pages = _pages(lines, notes, wide)
    parts = [_Part(preamble, heading, [[one.cell(n) for one in columns] for n in page]) for page in pages]
    return _floats(parts, caption, stem, notes, wide)


@dataclass(frozen=True)
class _Column:
    """A column of scores."""

    heading: str
    """The heading as LaTeX."""
    width: float
    """The width in characters."""
    texts: Sequence[tuple[str, str, str]]
    """The mean of each row, its spread, and the text behind them."""


@dataclass(frozen=True)
class _Texts:
    """A column of texts."""

    heading: Sequence[str]
    """The lines of the heading."""
    texts: Sequence[str]
    natural: float
    """The width in characters that the texts take without line breaks."""
    share: float
    """The width in characters that the column is given."""

    @property
    def wrapped(self) -> bool:
        return self.share < self.natural

    @property
    def least(self) -> float:
        """The width that its heading and the longest of its words take."""
        return max([*map(_width, self.heading), *map(_longest_word, self.texts)])

    def cell(self, row: int) -> str:
        return _breakable(self.texts[row]) if self.wrapped else escape_tex(self.texts[row])


@dataclass(frozen=True)
class _Part:
    """The content of one float."""

    preamble: str
    """The columns of the tabular."""
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    """The cells of each row."""


def _column(table: Table, name: str) -> _Column:
    entries = [table.entries.get((number, name)) for number in range(len(table.spec.rows))]
    lines = _lines(table.spec.columns[name])
    shown = [_shown(one) for one in entries if one]
    widths = [max(map(_width, texts)) for texts in zip(*shown, strict=True)]
    texts = [("", "", "") if one is None else _entry(one) for one in entries]
    return _Column(_stacked(lines, "c"), max(sum(widths), *map(_width, lines)), texts)


def _lines(heading: str) -> list[str]:
    return textwrap.wrap(_printable(heading), _HEADING) or [""]


def _stacked(lines: Sequence[str], side: str) -> str:
    """Return the lines of a heading one above the other, flush at ``side``: l, c or r."""
    stacked = r"\\".join(map(escape_tex, lines))
    return stacked if len(lines) == 1 else rf"\shortstack[{side}]{{{stacked}}}"


def _shown(one: Entry) -> tuple[str, str, str]:
    """Return the mean, its spread, and the count of seeds and the marks behind them."""
    score, _, partial = one.text.partition(" (")
    mean, _, spread = score.partition(" ± ")
    return mean, f"± {spread}" if spread else "", (f" ({partial}" if partial else "") + "†" * one.dagger + one.marks


def _entry(one: Entry) -> tuple[str, str, str]:
    """Return the texts of ``_shown`` as LaTeX; the mean alone is bold."""
    mean, spread, behind = _shown(one)
    count = behind.removesuffix("†" * one.dagger + one.marks)
    marks = (r"\dagger" if one.dagger else "") + (rf"\mathrm{{{one.marks}}}" if one.marks else "")
    return (
        rf"\textbf{{{mean}}}" if one.bold else mean.replace("-", "--"),
        spread.replace("± ", r"$\pm$\,"),
        count.replace(" ", "~") + (f"$^{{{marks}}}$" if marks else ""),
    )


def _groups(columns: Sequence[_Column], room: float) -> list[Sequence[_Column]]:
    """Return the columns in groups of about equal size that fit ``room`` characters."""
    widths = [one.width + _GAP for one in columns]
    count = 1 if sum(widths) <= room else math.ceil(len(columns) / max(1.0, room // max(widths)))
    bounds = [number * len(columns) // count for number in range(count + 1)]
    return [columns[start:end] for start, end in pairwise(bounds)]


def _pages(lines: Sequence[int], notes: Sequence[str], wide: bool) -> Iterator[range]:
    """Yield the rows of each page. ``lines`` are the lines that each row takes; the notes take some of every page."""
    of_notes = sum(math.ceil(1.0 * _width(note) / (PAGE if wide else COLUMN)) for note in notes)
    most = max(PAGE_LINES - of_notes, PAGE_LINES // 4)
    start, taken = 0, 0
    for number, count in enumerate(lines):
        if number > start and taken + count > most:
            yield range(start, number)
            start, taken = number, 0
        taken += count
    yield range(start, len(lines))


def _wrapped(width: float) -> str:
    """Return the column of wrapped texts that is ``width`` characters of a page wide."""
    return rf">{{\raggedright\arraybackslash}}p{{{0.95 * width / PAGE:.3f}\linewidth}}"


def _longest_word(text: str) -> float:
    """Return the width of the longest part of ``text`` that ``_breakable`` keeps in one line."""
    return max(map(_width, re.split(r"[ /_-]|(?<=[a-zA-Z])[.:,=](?=\w)", text)))


def _shares(widths: Sequence[float], available: float) -> list[float]:
    """Return the width of each column: its own where that is less than an equal share of the remaining width."""
    shares = list(widths)
    order = sorted(range(len(widths)), key=lambda n: widths[n])
    for place, number in enumerate(order):
        shares[number] = min(widths[number], available / (len(order) - place))
        available -= shares[number]
    return shares


def _floats(parts: Sequence[_Part], caption: str, stem: str, notes: Sequence[str], wide: bool) -> str:
    kind = "table*" if wide else "table"
    lines = [r"% Needs \usepackage{array,booktabs,threeparttable}."]
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        said = caption if len(parts) == 1 else f"{caption.removesuffix('.')}, part {number} of {len(parts)}."
        below = notes if last or not notes else [f"The notes stand below part {len(parts)}."]
        anchor = re.sub("[^a-z0-9-]", "-", stem.lower()) + ("" if number == 1 else f"-{number}")
        lines += [
            rf"\begin{{{kind}}}[htbp]",
            r"\centering\small",
            r"\begin{threeparttable}",
            *([rf"\caption{{{escape_tex(said)}}}"] if said else []),
            *([rf"\label{{tab:{anchor}}}"] if stem and said else []),
            r"\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular*}}{{\linewidth}}{{@{{}}{part.preamble}@{{}}}}",
            r"\toprule",
            rf"{' & '.join(part.head)} \\",
            r"\midrule",
            *(rf"{' & '.join(row)} \\" for row in part.body),
            r"\bottomrule",
            r"\end{tabular*}",
            *_below(below),
            r"\end{threeparttable}",
            rf"\end{{{kind}}}",
        ]
    text = "\n".join(lines) + "\n"
    unknown = "% [U+4E2D] and the like are characters that pdflatex may have no glyph for.\n"
    return unknown + text if "{[}U+" in text else text


def _below(notes: Sequence[str]) -> list[str]:
    if not notes:
        return []
    items = (rf"\item {escape_tex(note)}" for note in notes)
    return [r"\begin{tablenotes}[flushleft]\footnotesize", *items, r"\end{tablenotes}"]


def _list(head: Sequence[str], rows: Sequence[Sequence[str]], about: Sequence[str]) -> str:
    """Return the sentences ``about`` the rows, and the rows as a list, each text behind the name of its column."""
    texts = ("; ".join(f"{name}: {text}" for name, text in zip(head, row, strict=True) if text) for row in rows)
    items = (rf"\item {escape_tex(text)}." for text in texts)
    return "\n".join([escape_tex(" ".join(about)), r"\begin{itemize}", *items, r"\end{itemize}", ""])


def _breakable(text: str) -> str:
    """Return ``text`` as LaTeX whose long words may be broken behind the signs that paths and names hold."""
    return re.sub(r"(/|\\_|(?<=[a-zA-Z])[.:,=](?=\w))", r"\1\\allowbreak{}", escape_tex(text))


def _printable(text: str) -> str:
    """Return ``text`` without control characters, and the code points of characters that may have no glyph."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)
    return "".join(c if c in _TEX or _is_set(c) else f"[U+{ord(c):04X}]" for c in plain)


def _is_set(character: str) -> bool:
    """Return whether a character is ASCII, or an ASCII letter with one of the accents of TeX's own fonts."""
    base = unicodedata.normalize("NFD", character)
    return base.isascii() or (character <= "\u017f" and base[0].isascii() and base[1] in _ACCENTS)


def _width(text: str) -> float:
    """Return the approximate width of ``text`` in characters: capitals and broad signs count as one and a half."""
    return sum(
        1.5 if c.isupper() or c in "mw%@&±" else 0.6 if c in "iljtf.,:;'|!()[] " else 1 for c in _printable(text)
    )
