"""Pictures of scores: bars with the intervals of a bootstrap, in colours that the colour-blind can tell apart."""

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


def plot_zoo(board: pd.DataFrame, metric: str, chance: float, path: Path, title: str = "") -> None:
    """Heads beside each other, one bar a feature set, the best head on top; a dashed line is the majority baseline.

    Args:
        board: One row a run, best first: `head, features, <metric>, low, high`.
        metric: Column of the score.
        chance: Score of the majority baseline.
        path: The PNG to write.
        title: Above the picture.
    """
    heads, sets = list(dict.fromkeys(board["head"])), sorted(set(board["features"]), key=lambda name: (len(name), name))
    figure = Figure(figsize=(WIDTH, 1.5 + BAR * (len(sets) + (len(sets) + 0.8) * len(heads))), layout="constrained")
    axes = figure.add_subplot()
    thickness = 1 / (len(sets) + 0.8)
    for number, features in enumerate(sets):
        rows = board[board["features"] == features]
        middle = [heads.index(head) + (number - (len(sets) - 1) / 2) * thickness for head in rows["head"]]
        _bars(axes, middle, rows, metric, thickness, label=features, style=number)
    _rows(axes, heads)
    _score_axis(axes, metric, chance)
    _words(figure, axes, title, columns=1)
    figure.savefig(path, dpi=DPI)


def plot_hybrids(board: pd.DataFrame, adds: pd.DataFrame, metric: str, chance: float, path: Path, title: str) -> None:
    """Left the score of every subset of the backbones, right what each backbone adds to the whole.

    Args:
        board: One row a subset, best first: `features, <metric>, low, high`.
        adds: What `pipeline.hybrids.what_each_adds` gave for one part; maybe empty.
        metric: Column of the score.
        chance: Score of the majority baseline.
        path: The PNG to write.
        title: Above the picture.
    """
    figure = Figure(figsize=(WIDTH + 4, 1.4 + 0.35 * max(len(board), 2)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4, 3))
    sizes = board["features"].str.count(r"\+") + 1
    for size in sorted(set(sizes)):
        rows = board[sizes == size]
        label = "1 backbone" if size == 1 else f"{size} backbones"
        _bars(left, list(np.flatnonzero(sizes == size)), rows, metric, 0.7, label=label, style=size - 1)
    _rows(left, list(board["features"]))
    _score_axis(left, metric, chance)
    _words(figure, left, title, columns=4)
    _bars(right, list(range(len(adds))), adds, "adds", 0.5, label="", style=0)
    _rows(right, list(adds["backbone"]))
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlabel(f"{metric}: full hybrid less that without it")
    right.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=DPI)


def _bars(
    axes: Any, middle: Sequence[float], rows: pd.DataFrame, value: str, thickness: float, *, label: str, style: int
) -> None:
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


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _score_axis(axes: Any, metric: str, chance: float) -> None:
    if np.isfinite(chance):
        axes.axvline(chance, color="black", linestyle="--", linewidth=1, label=CHANCE)
    axes.set_xlabel(f"{metric}, with 95 % bootstrap interval over lesions")
    axes.grid(axis="x", alpha=0.3)


def _words(figure: Figure, axes: Any, title: str, columns: int) -> None:
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
