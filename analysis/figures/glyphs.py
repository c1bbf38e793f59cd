"""Names in Chinese, Japanese or Korean: the fonts that have their characters, and a note where none is installed.

Matplotlib's own font, DejaVu Sans, has none of these characters and draws a box for each.
"""

from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib import font_manager, ft2font
from matplotlib.figure import Figure
from matplotlib.text import Text

OWN = "DejaVu Sans"
FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP",
    "Source Han Sans SC", "Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "IPAexGothic", "IPAGothic", "TakaoGothic", "VL Gothic", "NanumGothic", "UnDotum", "PingFang SC", "Hiragino Sans",
    "Apple SD Gothic Neo", "Arial Unicode MS", "Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic",
)  # fmt: skip
"""The font families that are looked for, in this order: those of Linux, macOS and Windows."""
SHOWN = 12


def lacking(text: str) -> frozenset[str]:
    """Return the printable characters of ``text`` that matplotlib's own font does not have."""
    if text.isascii():
        return frozenset()
    own = _characters(font_manager.findfont(OWN))
    return frozenset(one for one in text if one.isprintable() and ord(one) not in own)


def families_for(characters: Iterable[str]) -> list[str]:
    """Return the installed families of ``FALLBACKS`` that have at least one of ``characters``."""
    wanted = {ord(one) for one in characters}
    paths = {entry.name: entry.fname for entry in reversed(font_manager.fontManager.ttflist)}
    return [name for name in FALLBACKS if name in paths and not wanted.isdisjoint(_characters(paths[name]))]


def give_glyphs(figure: Figure) -> bool:
    """Let the texts of ``figure`` take the characters that their font lacks from others; return whether any does."""
    given = False
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        families = families_for(missing) if (missing := lacking(text.get_text())) else []
        if families:
            text.set_fontfamily([OWN, *families])
            given = True
    return given


def glyph_note(texts: Sequence[str]) -> str:
    """Return a sentence on the characters of ``texts`` that no installed font has; empty where there are none."""
    characters = frozenset[str]().union(*map(lacking, texts))
    paths = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
    known = [_characters(paths[name]) for name in families_for(characters)]
    without = sorted(one for one in characters if not any(ord(one) in one_font for one_font in known))
    if not without:
        return ""
    shown = " ".join(without[:SHOWN]) + (" …" if len(without) > SHOWN else "")
    return (
        f"No font installed here has these characters of names, so that PDF and PNG figures show a box for each: "
        f"{shown}. A font such as Noto Sans CJK has them. The figures of this page show them where the reader's "
        "browser has such a font."
    )


@cache
def _characters(path: str) -> frozenset[int]:
    """Return the code points of a font file."""
    return frozenset(ft2font.FT2Font(path).get_charmap())
