"""What every picture shares: colours that the colour-blind can tell apart, bars with intervals, axes of scores."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe and Ito's palette (Color Universal Design, 2008)."""
CHANCE = "majority class"
HATCHES = ("", "//", "..", "xx")
WIDTH, BAR = 8.0, 0.16  # inches
DPI = 150


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG that is whole or, after a kill, still the one that was there before, if any."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(picture.getvalue())
    partial.replace(path)


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
    """A horizontal axis of scores, with a dashed line at the majority baseline's."""
    if np.isfinite(chance):
        axes.axvline(chance, color="black", linestyle="--", linewidth=1, label=CHANCE)
    axes.set_xlabel(f"{metric}, with 95 % bootstrap interval over lesions")
    axes.grid(axis="x", alpha=0.3)


def legend_above(figure: Figure, axes: Any, title: str, columns: int) -> None:
    """The legend above the axes, the baseline last, with a title."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda n: labels[n] == CHANCE)  # the baseline last
    figure.legend(
        [handles[n] for n in order],
        [labels[n] for n in order],
        title=title,
        loc="outside upper left",
        alignment="left",
        ncols=columns,
        frameon=False,
    )
