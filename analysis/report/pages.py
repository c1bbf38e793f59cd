"""A report's sections as one Markdown text, and as one offline HTML page, each with its own escapes."""

from collections.abc import Sequence
from importlib import resources

import jinja2
from markupsafe import Markup

from analysis.figures.captioned import CaptionedFigure
from analysis.report.document import Block, Details, Grid, Inline, Link, Paragraph, Points, Section
from analysis.tables.render import escape_markdown, markdown
from analysis.tables.table import Table, html_table


def markdown_page(title: str, sections: Sequence[Section]) -> str:
    """Return the report as Markdown; its figures are linked as files of ``figures/``."""
    return f"# {escape_markdown(title)}\n\n{markdown_sections(sections)}"


def markdown_sections(sections: Sequence[Section], level: int = 2) -> str:
    """Return the sections alone, without a page's title."""
    return "\n".join(_section(one, level) for one in sections)


def html_page(title: str, sections: Sequence[Section]) -> str:
    """Return the report as one HTML page that fetches nothing and runs no script; its figures are SVG inside it."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((resources.files("analysis.report") / "report.html.j2").read_text("utf-8"))
    return template.render(
        title=title,
        sections=sections,
        kinds=lambda block: type(block).__name__,
        # Both escape every text of their own.
        score_table=lambda table: Markup(html_table(table, linked=True)),
        drawing=lambda captioned: Markup(captioned.element),
    )


def _section(one: Section, level: int) -> str:
    head = f'<a id="{one.anchor}"></a>\n\n{"#" * min(level, 6)} {escape_markdown(one.title)}\n'
    return "\n".join([head, *map(_block, one.blocks), *(_section(part, level + 1) for part in one.parts)])


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"{escape_markdown(text)}\n"
        case Points(items):
            return "".join(f"- {escape_markdown(item)}\n" for item in items)
        case Grid():
            return _grid(block)
        case Details(summary, text):
            return f"{escape_markdown(summary)}\n\n" + "".join(f"    {line}\n" for line in text.splitlines())
        case Table():
            return markdown(block)
        case CaptionedFigure():
            image = f"![{escape_markdown(block.title)}](figures/{block.stem}.{block.linked})"
            return f"{image}\n\n{escape_markdown(block.caption)}\n"


def _grid(grid: Grid) -> str:
    rows = [f"| {' | '.join(map(_inline, row))} |" for row in grid.rows]
    caption = [f"**{escape_markdown(grid.caption)}**\n"] if grid.caption else []
    head = f"| {' | '.join(map(escape_markdown, grid.head))} |"
    return "\n".join([*caption, head, "|---" * len(grid.head) + "|", *rows, ""])


def _inline(item: Inline) -> str:
    match item:
        case Link(text, href):
            return f"[{escape_markdown(text)}](<{href}>)" if text else ""
        case _:
            return escape_markdown(item)
