"""Figures as files and as SVG inside a page: hover values without a script, the same bytes each time."""

import io
import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.captioned import CaptionedFigure

FORMATS = ("png", "svg", "pdf")
# Text stays text in SVG; fonts that journals take (no Type 3) in PDF; ids in SVG that don't change between runs.
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "tunekit", "pdf.fonttype": 42}
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def plain(text: str) -> str:
    """Return ``text`` that matplotlib does not take for mathematics and XML can hold."""
    return "".join(character if character.isprintable() else " " for character in text).replace("$", r"\$")


def wrapped(text: str, width: int, lines: int) -> str:
    """Return ``text`` on at most ``lines`` lines of ``width`` characters, the rest cut off; plain."""
    return "\n".join(textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" …"))


def hover(ax: Axes, xs: Iterable[float], ys: Iterable[float], texts: Sequence[str]) -> None:
    """Show each text where the mouse rests on its point, in SVG; nothing is drawn, in no format.

    A text travels as the link of an invisible marker, which matplotlib writes for each point of its own.
    """
    ax.scatter(list(xs), list(ys), s=100, color=(0, 0, 0, 0), linewidths=0, urls=texts, zorder=10)


def freeze_layout(figure: Figure) -> Figure:
    """Lay ``figure`` out once and for all, so that no format does it again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save(figures: Sequence[CaptionedFigure], folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write each figure as ``folder/<stem>.<format>`` in each of ``formats``, with the same bytes each time.

    Returns the paths. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for captioned in figures:
        for suffix in formats:
            path = folder / f"{captioned.stem}.{suffix}"
            path.write_bytes(_svg_file(captioned.figure) if suffix == "svg" else _drawn(captioned.figure, suffix))
            written.append(path)
    return written


def svg_text(figure: Figure, prefix: str) -> str:
    """Return ``figure`` as an SVG element to put into an HTML page, which may hold several.

    All ids begin with ``prefix``. The background is transparent and black is the page's text colour, so that it shows
    on dark pages. Its name for screen readers is the figure's title.
    """
    root = _titled(_drawn(figure, "svg", transparent=True))
    known = {element.get("id") for element in root.iter()}
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                changed = prefix + value
            elif name == "xlink:href" and value[1:] in known:
                changed = f"#{prefix}{value[1:]}"
            else:
                changed = re.sub(r"url\(#", lambda _: f"url(#{prefix}", value).replace("#000000", "currentColor")
            element.set(name, changed)
    root.attrib.pop("height")
    root.set("style", f"width:{root.attrib.pop('width')};max-width:100%;height:auto")
    root.set("fill", "currentColor")  # what matplotlib leaves without a fill is black
    root.set("role", "img")
    root.set("aria-label", " ".join(figure.get_suptitle().replace(r"\$", "$").split()))
    return ET.tostring(root, encoding="unicode")


def _svg_file(figure: Figure) -> bytes:
    text = ET.tostring(_titled(_drawn(figure, "svg")), encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _drawn(figure: Figure, suffix: str, *, transparent: bool = False) -> bytes:
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(buffer, format=suffix, dpi=200, metadata=dates.get(suffix), transparent=transparent)
    return buffer.getvalue()


def _titled(drawing: bytes) -> ET.Element:
    """Return matplotlib's SVG without metadata and styles that would reach the page around it; links become titles."""
    root = ET.fromstring(drawing)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.startswith(f"{{{SVG}}}") and child.tag.split("}")[1] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        target = element.attrib.pop(f"{{{XLINK}}}href", None)
        if element.tag == "a":
            title = ET.Element("title")
            title.text = target
            element.tag, element.attrib = "g", {"pointer-events": "all"}
            element.insert(0, title)
        elif target is not None:
            element.set("xlink:href", target)
    root.attrib |= {"xmlns": SVG, "xmlns:xlink": XLINK, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.set("pointer-events", "none")  # what lies above a point that has a title does not hide it from the mouse
    return root
