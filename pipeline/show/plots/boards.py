"""Pictures of leaderboards: the zoo's heads, and the subsets of a hybrid."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hamcache.pipeline.show.plots.style import BAR, WIDTH, bars, legend_above, rows_down, save_figure, score_axis


def plot_zoo(board: pd.DataFrame, metric: str, chance: float, path: Path, title: str | None = None) -> None:
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
        bars(axes, middle, rows, metric, thickness, label=features, style=number)
    rows_down(axes, heads)
    score_axis(axes, metric, chance)
    legend_above(figure, axes, title or "", columns=1)
    save_figure(figure, path)


def plot_hybrids(board: pd.DataFrame, adds: pd.DataFrame, metric: str, chance: float, path: Path, title: str) -> None:
    """Left the score of every subset of the backbones, right what each backbone adds to the whole.

    Args:
        board: One row a subset, best first: `features, <metric>, low, high`.
        adds: What `studies.hybrids.what_each_adds` gave for one part; maybe empty.
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
        bars(left, list(np.flatnonzero(sizes == size)), rows, metric, 0.7, label=label, style=size - 1)
    rows_down(left, list(board["features"]))
    score_axis(left, metric, chance)
    legend_above(figure, left, title, columns=4)
    bars(right, list(range(len(adds))), adds, "adds", 0.5, label="", style=0)
    rows_down(right, list(adds["backbone"]))
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlabel(f"{metric}: full hybrid less that without it")
    right.grid(axis="x", alpha=0.3)
    save_figure(figure, path)
