"""Names in Chinese or Japanese: an installed font draws them, and where none is, a note says so once."""

import warnings
from io import BytesIO

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from analysis.figures import glyphs
from analysis.figures.drawing import png_bytes, svg_bytes
from analysis.figures.glyphs import families_for, give_glyphs, glyph_note, lacking

NAME = "数据"


@pytest.fixture
def without(monkeypatch):
    """No font of the list is installed."""
    monkeypatch.setattr(glyphs, "FALLBACKS", ())


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A font that has the first character of NAME as a square is installed."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(NAME[0]): "square"})
    builder.setupGlyf({".notdef": square, "square": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "squares.ttf"
    builder.save(path)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    font_manager.fontManager.addfont(path)
    monkeypatch.setattr(glyphs, "FALLBACKS", ("Not installed", "Squares"))
    return "Squares"


def figure_of(label):
    figure = Figure(layout="constrained")
    ax = figure.subplots()
    ax.set_yticks([0, 1], [label, "plain"])
    return figure


def test_what_the_usual_font_lacks_is_found():
    assert lacking("Demo ± é µ") == frozenset()
    assert lacking(f"Demo {NAME}\n") == frozenset(NAME)


def test_a_text_takes_what_its_font_lacks_from_an_installed_one(installed):
    assert families_for(NAME) == [installed]
    figure = figure_of(NAME[0])
    assert b"Squares" in svg_bytes(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each character that it has no glyph for
        figure.savefig(BytesIO(), format="png")
        figure.savefig(BytesIO(), format="pdf")
    families = {text.get_text(): text.get_fontfamily() for text in figure.axes[0].get_yticklabels()}
    assert families[NAME[0]] == ["DejaVu Sans", installed]
    assert installed not in families["plain"]
    assert glyph_note([NAME[0]]) == ""
    assert glyph_note([NAME]).count(NAME[1]) == 1
    assert NAME[0] not in glyph_note([NAME])


def test_without_a_font_a_note_says_it_once_and_no_warning_repeats_it(without):
    figure = figure_of(NAME)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png_bytes(figure)
        assert not give_glyphs(figure)
    told = glyph_note([NAME, NAME])
    assert all(told.count(one) == 1 for one in NAME)
    assert "Noto Sans CJK" in told
    assert glyph_note(["Demo"]) == ""
