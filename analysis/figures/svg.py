"""Matplotlib's SVG as a file and as an element of an HTML page; this module does without matplotlib."""

import re
import xml.etree.ElementTree as ET

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def svg_file(drawing: bytes) -> bytes:
    """Return the SVG file of matplotlib's ``drawing``, on white."""
    root = _titled(drawing)
    root.insert(0, ET.Element("rect", {"width": "100%", "height": "100%", "fill": "#ffffff"}))
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def svg_element(drawing: bytes, prefix: str, title: str) -> str:
    """Return ``drawing`` as an SVG element to put into an HTML page, which may hold several.

    All ids begin with ``prefix``. Black is the page's text colour, so that it shows on dark pages. ``title`` is its
    name for screen readers.
    """
    root = _titled(drawing)
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
    root.set("aria-label", title)
    return ET.tostring(root, encoding="unicode")


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
