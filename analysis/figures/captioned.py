"""A figure of a document, with its caption and its place; this module does without matplotlib."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunekit.schema import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_STEM = 120
"""The characters of a stem at most; file systems allow 255 bytes a file name."""


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure and what a document needs to show it."""

    stem: str
    """The name of its files without their suffix."""
    caption: str
    kind: str
    """One of ``analysis.report.report.KINDS``, by which the report groups its figures, or ``forest``."""
    figure: "Figure"
    linked: str = "svg"
    """The format of the file that Markdown links to."""


def figure_stem(kind: str, *parts: str) -> str:
    """Return the stem of the files of a figure of ``kind`` that shows ``parts``; empty parts are left out."""
    return "-".join([kind, *(slug(part).replace("_", "-") for part in parts if part)])[:MAX_STEM]
