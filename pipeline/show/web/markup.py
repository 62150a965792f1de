"""Elements of the page made in Python, with every text and attribute escaped, and numbers as people read them."""

from math import isfinite
from typing import Any

from markupsafe import Markup, escape

NONE = "–"


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One element; what is not markup already is escaped.

    Args:
        name: Of the element, a word of this package's own.
        children: Text or markup; None is left out.
        attributes: Their names with `_` for `-`, and `class_` for `class`; None leaves one out.

    >>> str(tag("a", "<b>", href="#x", data_tip='"'))
    '<a href="#x" data-tip="&#34;">&lt;b&gt;</a>'
    """
    given = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    ]
    inside = Markup("").join(escape(child) for child in children if child is not None)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(given), inside)


def score(value: Any, digits: int = 3) -> str:
    """`0.515`, with a true minus; a dash where there is no number."""
    number = _number(value)
    return NONE if number is None else f"{number:.{digits}f}".replace("-", "−")


def signed(value: Any) -> str:
    """`+0.012`."""
    number = _number(value)
    return NONE if number is None else f"{number:+.3f}".replace("-", "−")


def seconds(value: Any) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    number = _number(value)
    if number is None:
        return NONE
    if number < 10:
        return f"{number:.1f} s" if number >= 0.05 else f"{number:.2g} s"
    whole = round(number)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def bracket(interval: Any) -> str:
    """`[0.412, 0.603]`, or nothing where an interval is absent or undefined."""
    if interval is None or _number(interval.low) is None:
        return ""
    return f"[{score(interval.low)}, {score(interval.high)}]"


def p_value(value: Any) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    number = _number(value)
    if number is None:
        return NONE
    return "p < 0.001" if number < 0.001 else f"p = {number:.3f}" if number < 0.1 else f"p = {number:.2f}"


def percent(value: Any) -> str:
    """`12 %`; below one, with a digit more."""
    number = _number(value)
    if number is None:
        return NONE
    return f"{number:.0f} %" if number >= 10 or number == 0 else f"{number:.1f} %"


def short_number(value: float) -> str:
    """A number on an axis: `0.25`, `1e-05`, `20`."""
    return f"{value:.10g}".replace("-", "−") if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}".replace("-", "−")


def _number(value: Any) -> float | None:
    """A finite number, or nothing."""
    if value is None or isinstance(value, str) or not isfinite(float(value)):
        return None
    return float(value)
