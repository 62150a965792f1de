"""The chart of costs: lines stretch with their box, text keeps its size, colours follow the page's, light or dark.

A chart is a box whose lines are one SVG of 1000 x 1000 units without an aspect ratio, and whose tick labels and
clickable dots are elements placed in per cent. So it is as readable on a phone as on a wide screen, and small.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

from hamcache.pipeline.show.web.markup import short_number, tag

UNITS = 1000
Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Place of a value on the axis, 0 to 1 (or beyond, if it is outside)."""
        return float(self.places([value])[0])

    def places(self, values: Sequence[float]) -> np.ndarray:
        """The same for many values, float64 `[n]`."""
        given = np.asarray(values, dtype=np.float64)
        if self.log:
            return np.log(np.maximum(given, self.low * 1e-3) / self.low) / np.log(self.high / self.low)
        return (given - self.low) / (self.high - self.low)


def linear(values: Iterable[float], ticks: int = 5, margin: float = 0.06) -> Scale:
    """An axis that holds these values, with a little room."""
    finite = [value for value in values if np.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = (high - low) * margin if high > low else abs(high) * 0.1 or 0.5
    low, high = low - room, high + room
    places = MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    shown = (float(f"{place:.10g}") for place in places)
    return Scale(low, high, tuple(place for place in shown if low <= place <= high))


def logarithmic(values: Iterable[float], ticks: int = 6) -> Scale:
    """A logarithmic axis that holds these positive values."""
    positive = [value for value in values if np.isfinite(value) and value > 0] or [1.0, 10.0]
    low, high = min(positive) / 1.25, max(positive) * 1.25
    places: list[float] = []
    for subs in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        rounded = (float(f"{place:.6g}") for place in LogLocator(base=10, subs=subs).tick_values(low, high))
        places = [place for place in rounded if low <= place <= high]
        if len(places) <= ticks:
            break
    return Scale(low, high, tuple(places[:: max(1, -(-len(places) // ticks))]), log=True)


@dataclass
class Chart:
    """A chart that is put together piece by piece; `render` gives its markup.

    Attributes:
        x, y: The axes.
        x_label, y_label: Their labels.
        about: One sentence for those who do not see it.
    """

    x: Scale
    y: Scale
    x_label: str
    y_label: str
    about: str
    _lines: list[Markup] = field(default_factory=list)
    _above: list[Markup] = field(default_factory=list)
    _legend: list[Markup] = field(default_factory=list)

    def steps(self, points: Sequence[Point], look: str, name: str) -> None:
        """A line that keeps its height from each point until the next."""
        (x, y), *others = self._units(points)
        self._lines.append(tag("path", d=f"M{x} {y}" + "".join(f"H{a}V{b}" for a, b in others), class_=look))
        self.legend(name, look)

    def segment(self, start: Point, end: Point, look: str, **attributes: object) -> None:
        """A straight line, such as an interval, which a script may find by its attributes."""
        (a, b), (c, d) = self._units([start, end])
        self._lines.append(tag("path", d=f"M{a} {b}L{c} {d}", class_=look, **attributes))

    def dot(self, at: Point, look: str, text: str | None = None, *, element: str = "a", **attributes: object) -> None:
        """An element on a point: a link to a run, say."""
        x, y = self.x(at[0]), self.y(at[1])
        where = f"left:{100 * x:.2f}%;bottom:{100 * y:.2f}%"
        self._above.append(tag(element, text or "", class_=f"dot {look}", style=where, **attributes))

    def legend(self, name: str, look: str) -> None:
        """One entry of the legend."""
        self._legend.append(tag("li", tag("i", class_=look), name))

    def render(self) -> Markup:
        """The chart as an element."""
        grid = [f"M{round(UNITS * self.x(t))} 0V{UNITS}" for t in self.x.ticks]
        grid += [f"M0 {round(UNITS * (1 - self.y(t)))}H{UNITS}" for t in self.y.ticks]
        svg = tag(
            "svg",
            tag("path", d="".join(grid), class_="grid"),
            *self._lines,
            viewBox=f"0 0 {UNITS} {UNITS}",
            preserveAspectRatio="none",
            aria_hidden="true",
        )
        marks = [
            tag("span", short_number(t), class_="tick x", style=f"left:{100 * self.x(t):.2f}%") for t in self.x.ticks
        ]
        marks += [
            tag("span", short_number(t), class_="tick y", style=f"bottom:{100 * self.y(t):.2f}%") for t in self.y.ticks
        ]
        hidden = tag("div", *marks, class_="ticks", aria_hidden="true")
        return tag(
            "div",
            tag("div", self.y_label, class_="y-label", aria_hidden="true"),
            tag("div", svg, hidden, *self._above, class_="plot"),
            tag("div", self.x_label, class_="x-label", aria_hidden="true"),
            tag("ul", *self._legend, class_="legend") if self._legend else None,
            class_="chart",
            role="group" if self._above else "img",
            aria_label=self.about,
        )

    def _units(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        shares = np.array([self.x.places([x for x, _ in points]), 1 - self.y.places([y for _, y in points])]).T
        return [(int(x), int(y)) for x, y in np.round(UNITS * np.clip(shares, -0.02, 1.02))]
