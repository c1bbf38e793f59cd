"""A figure of a document with its caption and its files; matplotlib is loaded only once a figure is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.figures.svg import svg_element, svg_file
from tunekit.schema import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
DEFAULT_FORMATS = ("svg", "pdf")
MAX_STEM = 120
"""The most characters of a stem; file systems allow 255 bytes a file name."""


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
    """The format of the file that the document links to."""

    @property
    def title(self) -> str:
        """The title that is drawn in the figure, on one line."""
        return " ".join(self.figure.get_suptitle().replace(r"\$", "$").split())

    @cached_property
    def element(self) -> str:
        """The figure as an SVG element of an HTML page, named by its title."""
        return svg_element(self._svg, f"{self.stem}-", self.title)

    def content(self, suffix: str) -> bytes:
        """Return the content of the figure's file in one of ``FORMATS``."""
        from analysis.figures.drawing import pdf_bytes, png_bytes

        if suffix == "svg":
            return svg_file(self._svg)
        return {"pdf": pdf_bytes, "png": png_bytes}[suffix](self.figure)

    @cached_property
    def _svg(self) -> bytes:
        """Matplotlib's drawing, which the page and the file share."""
        from analysis.figures.drawing import svg_bytes

        return svg_bytes(self.figure)


def figure_stem(kind: str, *parts: str) -> str:
    """Return the stem of the files of a figure of ``kind`` that shows ``parts``; empty parts are left out."""
    return "-".join([kind, *(slug(part).replace("_", "-") for part in parts if part)])[:MAX_STEM]


def save(figures: Sequence[CaptionedFigure], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write each figure as ``folder/<stem>.<format>`` in each of ``formats``, with the same bytes each time.

    Returns the paths. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for captioned in figures:
        for suffix in formats:
            path = folder / f"{captioned.stem}.{suffix}"
            path.write_bytes(captioned.content(suffix))
            written.append(path)
    return written
