"""The picture of learning curves: score by the number of labelled images."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from hamcache.pipeline.show.plots.style import CHANCE, COLOURS, WIDTH, legend_above, save_figure

LINES = ("-", "--", ":", "-.")


def plot_curve(table: pd.DataFrame, metric: str, chance: float, path: Path, title: str) -> None:
    """One line a head (colour) and feature set (dashes), with the interval of the mean over seeds.

    Args:
        table: Rows of one part of `studies.curves.Curve.frame`; where `features` is empty, lines are called by the
            head alone.
        metric: Name of the score.
        chance: Score of the majority baseline.
        path: The PNG to write.
        title: Above the picture.
    """
    heads, sets = list(dict.fromkeys(table["head"])), list(dict.fromkeys(table["features"]))
    figure = Figure(figsize=(WIDTH, 4.6 + 0.16 * len(heads) * len(sets)), layout="constrained")
    axes = figure.add_subplot()
    for (head, features), rows in table.groupby(["head", "features"], sort=False):
        rows = rows.sort_values("images")
        colour, line = COLOURS[heads.index(head) % len(COLOURS)], LINES[sets.index(features) % len(LINES)]
        label = f"{head} on {features}" if features else head
        axes.plot(rows["images"], rows["score"], line, color=colour, marker="o", markersize=4, label=label)
        if np.isfinite(rows["low"]).all():
            axes.fill_between(rows["images"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
    if np.isfinite(chance):
        axes.axhline(chance, color="black", linestyle=(0, (5, 5)), linewidth=1, label=CHANCE)
    amounts = table.groupby("labels", sort=False)["images"].median()
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(amounts.to_list(), [f"{images:,.0f}\n{labels}" for labels, images in amounts.items()])
    axes.set_xlabel("labelled training images")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    legend_above(figure, axes, title, columns=1 if max(map(len, sets)) > 30 else 2)
    save_figure(figure, path)
