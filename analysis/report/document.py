"""A report as data: sections of a few kinds of blocks; ``analysis.report.pages`` writes them as Markdown and HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from analysis.figures.captioned import CaptionedFigure
from analysis.tables.table import Table


@dataclass(frozen=True)
class Link:
    """A text that leads to ``href``: ``#anchor`` in the report, or a path beside it."""

    text: str
    href: str


Inline = str | Link


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of lines."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A plain table; every row has as many places as ``head``. Raises ValueError where one has not."""

    head: tuple[str, ...]
    rows: tuple[tuple[Inline, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"a row of {len(row)} places under a head of {len(self.head)}: {row}")


@dataclass(frozen=True)
class Details:
    """Text of fixed width that is folded under the line ``summary`` until a reader opens it."""

    summary: str
    text: str


Block = Paragraph | Points | Grid | Details | Table | CaptionedFigure


@dataclass(frozen=True)
class Section:
    """A part of a report under a heading. ``anchor`` is the name that links to it use."""

    title: str
    blocks: tuple[Block, ...]
    anchor: str
    parts: tuple["Section", ...] = field(default=())
    """The sections below this one."""
    folded: bool = False
    """Whether a page shows its title alone until a reader opens it."""


def kept(sections: Iterable[Section | None]) -> Sequence[Section]:
    """Return the sections that have a block or a part."""
    return [one for one in sections if one is not None and (one.blocks or one.parts)]
