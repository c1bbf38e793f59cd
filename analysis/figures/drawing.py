"""Drawing figures with matplotlib: hover values without a script, the same bytes each time, one drawing a format."""

import io
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import matplotlib as mpl
from fontTools import subset
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from analysis.figures.glyphs import give_glyphs

# Text stays text in SVG; fonts that journals take (no Type 3) in PDF; ids in SVG that don't change between runs.
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "tunekit", "pdf.fonttype": 42}
PIXELS_PER_INCH = 200
"""The resolution of PNG files."""


def plain(text: str) -> str:
    """Return ``text`` in a form that matplotlib does not read as mathematics and that XML can hold."""
    return "".join(character if character.isprintable() else " " for character in text).replace("$", r"\$")


def wrapped(text: str, width: int, lines: int) -> str:
    """Return ``plain(text)`` on at most ``lines`` lines of ``width`` characters; the rest is cut off."""
    return "\n".join(textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" …"))


def hover(ax: Axes, xs: Iterable[float], ys: Iterable[float], texts: Sequence[str]) -> None:
    """Show each text where the mouse rests on its point, in SVG; nothing is drawn, in no format.

    A text is stored as the link of an invisible marker, because matplotlib writes a link for each point.
    """
    ax.scatter(list(xs), list(ys), s=100, color=(0, 0, 0, 0), linewidths=0, urls=texts, zorder=10)


def freeze_layout(figure: Figure) -> None:
    """Lay ``figure`` out, the first time that this is called, so that all formats show it in one layout."""
    engine = figure.get_layout_engine()
    if engine is None:
        give_glyphs(figure)
    else:
        with _no_word_of_boxes():
            engine.execute(figure)  # which writes the labels of the axes
            if give_glyphs(figure):
                engine.execute(figure)
        figure.set_layout_engine("none")  # an engine whose layout is the present one


def svg_bytes(figure: Figure) -> bytes:
    """Return ``figure`` as matplotlib's SVG, without the white rectangles behind it and its axes."""
    freeze_layout(figure)
    backgrounds = [figure.patch, *(ax.patch for ax in figure.axes)]
    buffer = io.BytesIO()
    for patch in backgrounds:
        patch.set_visible(False)
    with mpl.rc_context(SETTINGS), _no_word_of_boxes():
        # Not savefig, which draws such a figure twice.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    for patch in backgrounds:
        patch.set_visible(True)
    return buffer.getvalue()


def pdf_bytes(figure: Figure) -> bytes:
    """Return ``figure`` as PDF."""
    freeze_layout(figure)
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS), _no_word_of_boxes(), mock.patch.object(subset, "Options", _OptionsOfEmbedded):
        # Not savefig, which draws such a figure twice.
        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
    return buffer.getvalue()


def png_bytes(figure: Figure) -> bytes:
    """Return ``figure`` as PNG."""
    freeze_layout(figure)
    buffer = io.BytesIO()
    with _no_word_of_boxes():
        figure.savefig(buffer, format="png", dpi=PIXELS_PER_INCH)
    return buffer.getvalue()


@contextmanager
def _no_word_of_boxes() -> Iterator[None]:
    """Keep matplotlib from warning of each character that no font has: a report says it once (``glyph_note``)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


class _OptionsOfEmbedded(subset.Options):  # type: ignore[misc]
    """Options by which fontTools cuts a font that is embedded in a PDF file.

    A PDF file gives the place of each glyph, so that the font's tables for placing glyphs are of no use in it. Reading
    them takes two thirds of the time.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop_tables += ["GDEF", "GPOS", "GSUB", "MATH"]
