"""The sheet of images that are suggested for labelling, and the picture of a trial of ways to choose them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hamcache.pipeline.inspect.audit.findings import records
from hamcache.pipeline.inspect.choice_trial import RANDOM, TrialScores
from hamcache.pipeline.show.plots.sheets import QUIET, TEXT, WARNING, Tile, draw_sheets
from hamcache.pipeline.show.plots.style import COLOURS, legend_above, panel_title, save_figure

UNSURE = 0.1
"""Differences between the two most probable classes that are marked."""


def plot_suggestions(frame: pd.DataFrame, out: Path, title: str) -> list[Path]:
    """Sheets `out`, `<name>-2.png`, ... of the suggested images, in their order.

    Args:
        frame: See `use.suggest.suggestions.Suggestions`.
        out: The first PNG.
        title: Of the sheet.
    """
    return draw_sheets([_tile(row) for row in records(frame)], out, title, columns=8, rows=8)


def _tile(row: Mapping[str, Any]) -> Tile:
    likely = sorted(((value, name[2:]) for name, value in row.items() if name.startswith("p_")), reverse=True)[:2]
    return Tile(
        (row["path"],),
        (
            (f"{row['rank']}. {row['image_id']}", TEXT),
            (str(row["group"]), QUIET),
            ("   ".join(f"{name} {value:.2f}" for value, name in likely), TEXT),
            (
                f"margin {row['margin']:.2f}   distance {row['distance']:.2f}",
                WARNING if row["margin"] < UNSURE else QUIET,
            ),
        ),
    )


def plot_trial(scores: TrialScores, out: Path, title: str) -> None:
    """Scores by the number of labels on the left, gains over random choice on the right, each with its interval.

    Args:
        scores: The trial.
        out: The PNG.
        title: Above the picture.
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    table, tried = scores.frame, scores.trial.tried
    for number, name in enumerate(tried):
        rows = table[table["strategy"] == name]
        colour = "#555555" if name == RANDOM else COLOURS[number % len(COLOURS)]
        for axes, value, low, high in ((left, "score", "low", "high"), (right, "gain", "gain_low", "gain_high")):
            if axes is right and name == RANDOM:
                continue
            line = "--" if name == RANDOM else "-"
            label = name if axes is left else None
            axes.plot(rows["labels"], rows[value], line, color=colour, marker="o", markersize=4, label=label)
            if np.isfinite(rows[low]).all():
                axes.fill_between(rows["labels"], rows[low], rows[high], color=colour, alpha=0.12, linewidth=0)
    left.axhline(scores.whole, color="black", linestyle=":", linewidth=1, label="every label of the pool")
    right.axhline(0, color="#555555", linestyle="--", linewidth=1)
    panel_title(left, f"{scores.metric} on {scores.trial.part}")
    panel_title(right, f"{scores.metric} above random choice, same seed")
    for axes in (left, right):
        axes.set_xlabel("labelled images")
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    legend_above(figure, left, title, columns=len(tried) + 1)
    save_figure(figure, out)
