"""The look that every picture has: colours that the colour-blind can tell apart, titles that fit, bars, score axes."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from hamcache.data.files import write_bytes, write_text
from hamcache.pipeline.show.plots.svg import as_svg

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe and Ito's palette (Color Universal Design, 2008)."""
CHANCE = "majority class"
HATCHES = ("", "//", "..", "xx")
WIDTH, BAR = 8.0, 0.16  # inches
DPI = 150
TITLE, PANEL_TITLE = 11.0, 10.0
"""Points: sizes of the title of a figure, and of those of its panels and its legend."""
_SIDES = 0.9  # inches of a panel's width beside its axes: labels and space


def save_figure(figure: Figure, path: Path, *, vector: bool = False) -> None:
    """Write a PNG, and an SVG beside it if it is asked for: the same picture, laid out once.

    Each file is whole or, after a kill, still the one that was there before, if any.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    write_bytes(path, picture.getvalue())
    if vector:
        figure.set_layout_engine("none")  # it stays as it was laid out for the PNG
        write_text(path.with_suffix(".svg"), as_svg(figure))


def titled(figure: Figure, title: str) -> None:
    """Set a figure's title: small, left, as wide as the figure; nothing in it is mathematics, whatever it names."""
    lines = fitted(title, 0.98 * figure.get_figwidth() - 0.1, TITLE)
    figure.suptitle(lines, x=0.01, ha="left", fontsize=TITLE, parse_math=False)


def panel_title(axes: Any, title: str, inches: float | None = None) -> None:
    """Set the title of axes, at most `inches` wide (default: their share of the figure without its sides)."""
    columns = axes.get_subplotspec().get_gridspec().ncols
    lines = fitted(title, inches or axes.figure.get_figwidth() / columns - _SIDES, PANEL_TITLE)
    axes.set_title(lines, fontsize=PANEL_TITLE, loc="left", parse_math=False)


def fitted(text: str, inches: float, size: float) -> str:
    """The text in lines of at most this width: broken between words, or inside one that has no line for itself."""
    return "\n".join("\n".join(_lines(line, inches, size)) for line in text.splitlines())


def _lines(text: str, inches: float, size: float) -> list[str]:
    font = FontProperties(size=size)

    def fits(line: str) -> bool:
        width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
        return bool(width <= 72 * inches)

    lines = [""]
    for word in text.split(" "):
        if fits(f"{lines[-1]} {word}".strip()):
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and not fits(lines[-1] + letter):
                lines.append("")
            lines[-1] += letter
    return lines


def bars(
    axes: Any, middle: Sequence[float], rows: pd.DataFrame, value: str, thickness: float, *, label: str, style: int
) -> None:
    """Horizontal bars around the heights `middle`, with the interval `low, high` of each row."""
    scores = rows[value].to_numpy(np.float64)
    reach = [scores - rows["low"].to_numpy(np.float64), rows["high"].to_numpy(np.float64) - scores]
    axes.barh(
        middle,
        scores,
        height=0.9 * thickness,
        xerr=np.clip(reach, 0, None),  # the score itself may lie a little outside a percentile interval
        color=COLOURS[style % len(COLOURS)],
        hatch=HATCHES[style // len(COLOURS) % len(HATCHES)],
        error_kw={"elinewidth": 1, "ecolor": "#333333", "capsize": 2},
        label=label,
    )


def rows_down(axes: Any, names: Sequence[str]) -> None:
    """Name the rows of a chart of horizontal bars, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def score_axis(axes: Any, metric: str, chance: float) -> None:
    """Label a horizontal axis of scores, with a dashed line at the majority baseline's."""
    if np.isfinite(chance):
        axes.axvline(chance, color="black", linestyle="--", linewidth=1, label=CHANCE)
    axes.set_xlabel(f"{metric}, with 95 % bootstrap interval over lesions")
    axes.grid(axis="x", alpha=0.3)


def legend_above(figure: Figure, axes: Any, title: str, columns: int) -> None:
    """Put the legend above the axes, the baseline last, with a title that fits."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda n: labels[n] == CHANCE)  # the baseline last
    legend = figure.legend(
        [handles[n] for n in order],
        [labels[n] for n in order],
        title=fitted(title, figure.get_figwidth() - 0.4, PANEL_TITLE),
        loc="outside upper left",
        alignment="left",
        ncols=columns,
        frameon=False,
    )
    legend.get_title().set_parse_math(False)
