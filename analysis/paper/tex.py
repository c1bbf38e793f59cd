"""Sections as LaTeX, for the appendix of a paper; it needs the packages of its tables, and graphicx."""

from collections.abc import Sequence

from analysis.figures.captioned import CaptionedFigure
from analysis.report.document import Details, Grid, Paragraph, Points, Section
from analysis.tables.latex import escape_tex, latex, latex_texts
from analysis.tables.table import Table

COLUMN_FIGURE = 6.0
"""The width in inches from which a figure goes across a page of two columns: in one, its letters are too small."""
_HEADS = ("section", "subsection", "subsubsection")


def latex_sections(sections: Sequence[Section], level: int = 0) -> str:
    """Return ``sections`` with their blocks.

    Sections below ``\\subsubsection`` stay at that level. Details are left out.
    """
    return "\n".join(_section(one, level) for one in sections)


def latex_grid(grid: Grid, title: str) -> str:
    """Return the floats of a plain table, or a list where its columns would be too narrow.

    ``title`` is the caption of a table that has none.
    """
    rows = [[item if isinstance(item, str) else item.text for item in row] for row in grid.rows]
    return latex_texts(grid.head, rows, grid.caption or title)


def _section(one: Section, level: int) -> str:
    head = rf"\{_HEADS[min(level, 2)]}{{{escape_tex(one.title)}}}"
    blocks = (_block(block, one.title) for block in one.blocks)
    return "\n".join([head, *blocks, latex_sections(one.parts, level + 1)])


def _block(block: object, title: str) -> str:
    """Return a block of the section ``title``, which is the caption of a plain table without one, since floats move."""
    match block:
        case Paragraph(text):
            return f"{escape_tex(text)}\n"
        case Points(items):
            lines = "\n".join(rf"\item {{}}{escape_tex(item)}" for item in items)
            return f"\\begin{{itemize}}\n{lines}\n\\end{{itemize}}\n"
        case Grid():
            return latex_grid(block, title)
        case Table():
            return latex(block)
        case CaptionedFigure():
            kind = "figure*" if block.figure.get_figwidth() > COLUMN_FIGURE else "figure"
            return (
                f"\\begin{{{kind}}}[htbp]\n\\centering\n"
                f"\\includegraphics[width=\\linewidth,height=0.8\\textheight,keepaspectratio]{{figures/{block.stem}.{block.linked}}}\n"
                f"\\caption{{{escape_tex(block.caption)}}}\n\\end{{{kind}}}\n"
            )
        case Details():
            return ""
        case _:
            raise TypeError(f"no LaTeX for {type(block).__name__}")
