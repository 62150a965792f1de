"""Pictures as small SVG: text stays text, numbers and styles are short, and the bytes are the same each time."""

import io
import re
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

SVG, LINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}"
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "hamcache", "path.simplify_threshold": 0.4}
_LOOK = "svg{stroke-linejoin:round;font-family:DejaVu Sans,Verdana,sans-serif}"
_LENGTHS = ("d", "x", "y", "transform", "width", "height")
_NAME = r"#?\b[mph][0-9a-f]{10}\b"  # of a marker, a clip path or a hatch
_UNUSED = ("metadata", "style")


def as_svg(figure: Figure) -> str:
    """A figure on a transparent ground, about a quarter as long as matplotlib writes it."""
    page = io.StringIO()
    with rc_context(_SETTINGS):
        figure.savefig(page, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(page.getvalue())
    names = {name: f"i{n}" for n, name in enumerate(dict.fromkeys(re.findall(r"#([mph]\w+)", page.getvalue())))}
    looks: dict[str, str] = {}
    _shorten(root, names, looks)
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = _LOOK + "".join(f".{name}{{{rules}}}" for rules, name in looks.items())
    root.insert(0, style)
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")


def _shorten(element: ElementTree.Element, names: dict[str, str], looks: dict[str, str]) -> None:
    """Drop what draws nothing, unwrap groups that say nothing, and shorten names, styles and lengths.

    Args:
        element: Changed in place.
        names: Ids that are referred to -> short ones.
        looks: Style -> short name of its class; is filled.
    """
    for key, value in list(element.attrib.items()):
        if (key == "id" and value not in names) or re.fullmatch(r"rotate\(-?0 [^)]*\)", value):
            del element.attrib[key]
        elif key == "style":
            rules = (re.sub(r"\s*([:,])\s*", r"\1", rule.strip()) for rule in value.split(";"))
            look = ";".join(rule for rule in rules if not rule.startswith("font-family"))
            del element.attrib[key]
            element.set("class", looks.setdefault(look, f"l{len(looks)}"))
        elif key in _LENGTHS:
            element.set(key, _short_lengths(value))
        elif key != "class":
            del element.attrib[key]
            element.set(
                key.removeprefix(LINK),
                re.sub(_NAME, lambda found: _renamed(found[0], names), value),
            )
    if not element.tag.endswith(("}text", "}tspan")):
        element.text = None
    children: list[ElementTree.Element] = []
    for child in list(element):
        element.remove(child)
        child.tail = None
        kind = child.tag.rpartition("}")[2]
        if kind in _UNUSED or (kind == "path" and child.get("style") == "fill: none"):
            continue
        _shorten(child, names, looks)
        if kind == "g" and not child.attrib:
            children += list(child)
        elif kind != "defs" or len(child):
            children.append(child)
    element.extend(children)


def _renamed(reference: str, names: dict[str, str]) -> str:
    name = reference.removeprefix("#")
    return reference.replace(name, names.get(name, name))


def _short_lengths(value: str) -> str:
    """Numbers in tenths of a point at the most, without the spaces that nobody needs."""
    numbers = re.sub(r"-?\d+\.\d+(?:e-?\d+)?", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)
    return re.sub(r" ?([A-Za-z(),]) ?", r"\1", " ".join(numbers.split())).replace(" -", "-")
