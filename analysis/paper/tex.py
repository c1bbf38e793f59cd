"""Sections as LaTeX: what a paper's appendix is made of. Needs the packages booktabs and graphicx."""

from collections.abc import Sequence

from analysis.figures.captioned import CaptionedFigure
from analysis.report.document import Details, Grid, Paragraph, Points, Section
from analysis.tables.render import escape_tex, latex
from analysis.tables.table import Table

_HEADS = ("section", "subsection", "subsubsection")


def latex_sections(sections: Sequence[Section], level: int = 0) -> str:
    """``sections`` with their blocks; those below ``\\subsubsection`` stay at that level. Details are left out."""
    return "\n".join(_section(one, level) for one in sections)


def latex_grid(grid: Grid) -> str:
    """A table environment, never wider than the line."""
    texts = [[item if isinstance(item, str) else item.text for item in row] for row in grid.rows]
    body = [" & ".join(map(escape_tex, row)) + r" \\" for row in texts]
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        *([rf"\caption{{{escape_tex(grid.caption)}}}", r"\smallskip"] if grid.caption else []),
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{'l' * len(grid.head)}}}",
        r"\toprule",
        " & ".join(map(escape_tex, grid.head)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _section(one: Section, level: int) -> str:
    head = rf"\{_HEADS[min(level, 2)]}{{{escape_tex(one.title)}}}"
    return "\n".join([head, *map(_block, one.blocks), latex_sections(one.parts, level + 1)])


def _block(block: object) -> str:
    match block:
        case Paragraph(text):
            return f"{escape_tex(text)}\n"
        case Points(items):
            lines = "\n".join(rf"\item {{}}{escape_tex(item)}" for item in items)
            return f"\\begin{{itemize}}\n{lines}\n\\end{{itemize}}\n"
        case Grid():
            return latex_grid(block)
        case Table():
            return latex(block)
        case CaptionedFigure():
            return (
                "\\begin{figure}[htbp]\n\\centering\n"
                f"\\includegraphics[width=\\linewidth]{{figures/{block.stem}.pdf}}\n"
                f"\\caption{{{escape_tex(block.caption)}}}\n\\end{{figure}}\n"
            )
        case Details():
            return ""
        case _:
            raise TypeError(f"no LaTeX for {type(block).__name__}")
