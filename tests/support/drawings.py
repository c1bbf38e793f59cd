"""What a page shows of a figure."""

from xml.etree import ElementTree

from matplotlib.figure import Figure

from analysis.figures.captioned import CaptionedFigure
from analysis.figures.svg import SVG


def element(figure: Figure, stem: str = "p") -> str:
    """The SVG element that a page shows."""
    return CaptionedFigure(stem, "", "curves", figure).element


def titles(figure: Figure) -> list[str | None]:
    """The texts that appear where the mouse rests."""
    return [title.text for title in ElementTree.fromstring(element(figure)).iter(f"{{{SVG}}}title")]
