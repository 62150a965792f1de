"""Pictures of a study: its rows by score and by cost, quality against processor seconds, robustness."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.show.plots.boards import plot_hybrids
from hamcache.pipeline.show.plots.curves import plot_curve
from hamcache.pipeline.show.plots.style import (
    CHANCE,
    COLOURS,
    PANEL_TITLE,
    WIDTH,
    bars,
    fitted,
    legend_above,
    rows_down,
    save_figure,
    score_axis,
)
from hamcache.pipeline.studies.study.study_beside import board_of, robustness
from hamcache.pipeline.studies.study.study_config import MAJORITY
from hamcache.pipeline.studies.study.study_table import StudyTable

ONCE = "extraction of all features, once"
LEAST_SECONDS = 1e-2
"""Seconds at which a cost of less stands on a logarithmic axis."""


def draw_study(table: StudyTable, folder: Path, workspace: Workspace) -> list[str]:
    """Draw the pictures of a study; returns their names.

    Args:
        table: Its table.
        folder: Gets `rows.png` and `costs.png`; `backbones.png` where rows are a hybrid and its parts, `labels.png`
            where the study has fewer labels, and `robustness.png` where runs were evaluated with corruptions.
        workspace: Holds the evaluations.
    """
    metric, part = table.objective, table.result.parts[-1]
    extraction = float(np.sum(list(table.costs.stores.values())))
    plot_rows(table.frame, metric, part, extraction, folder / "rows.png", table.title(part))
    plot_costs(table.frame, metric, part, extraction, folder / "costs.png", table.title(part))
    written = ["rows.png", "costs.png"]
    rows, adds = table.adds
    if len(adds):
        board, chance = board_of(rows, table.frame, metric), float(table.frame[f"validation_{metric}"].iloc[0])
        plot_hybrids(board, adds, metric, chance, folder / "backbones.png", table.title("validation"))
        written.append("backbones.png")
    if table.result.curve is not None and len(table.curve):
        chance = table.result.curve.chance("validation")
        lines = table.curve.assign(head=table.curve["features"], features="")
        title = table.title("validation", "means over seeds and their 95 % intervals")
        plot_curve(lines, metric, chance, folder / "labels.png", title)
        written.append("labels.png")
    curves = robustness(table.result, workspace)
    if len(curves):
        plot_robustness(curves, metric, folder / "robustness.png", table.title("corrupted images"))
        written.append("robustness.png")
    return written


def plot_rows(frame: pd.DataFrame, metric: str, part: str, extraction: float, path: Path, title: str) -> None:
    """Left each row's score, in the order of the study; right what its search cost, and above it the extraction, once.

    Args:
        frame: `StudyTable.frame`.
        metric: The objective.
        part: Part of the split.
        extraction: Processor seconds of all features; NaN where not known.
        path: The PNG to write.
        title: Above the picture.
    """
    rows, chance = _rows(frame, metric, part)
    figure = Figure(figsize=(WIDTH + 4, 1.9 + 0.36 * (len(rows) + 1)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(5, 3), sharey=True)
    places = np.arange(1, len(rows) + 1)
    shown = rows.rename(columns={f"{metric}_low": "low", f"{metric}_high": "high"})
    bars(left, list(places), shown, metric, 0.7, label=f"{part}, first seed", style=0)
    several = rows["seeds"].to_numpy() > 1
    if several.any():
        left.errorbar(
            rows[f"{metric}_mean"][several],
            places[several] + 0.22,
            xerr=rows[f"{metric}_sd"][several],
            fmt="D",
            color=COLOURS[1],
            markersize=4,
            capsize=2,
            label="mean and standard deviation over seeds",
        )
    score_axis(left, metric, chance)
    rows_down(left, [ONCE, *rows["name"]])
    for name, column, style in (("one experiment", "training", 2), ("whole search", "search", 5)):
        seconds = np.maximum(rows[column].to_numpy(float), LEAST_SECONDS)
        right.scatter(seconds, places, color=COLOURS[style], s=28, label=name, zorder=3)
    right.hlines(
        places, np.maximum(rows["training"], LEAST_SECONDS), np.maximum(rows["search"], LEAST_SECONDS), "#999999"
    )
    if np.isfinite(extraction) and extraction > 0:
        right.scatter([extraction], [0], color="black", marker="s", s=32, label="extraction", zorder=3)
    right.set_xscale("log")
    _seconds_axis(right)
    right.grid(axis="x", alpha=0.3)
    right.tick_params(axis="y", left=False, labelleft=False)
    handles, labels = right.get_legend_handles_labels()
    legend_above(figure, left, title, columns=3)
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False)
    save_figure(figure, path)


def plot_costs(frame: pd.DataFrame, metric: str, part: str, extraction: float, path: Path, title: str) -> None:
    """Quality against processor seconds: of one experiment with its share of the extraction, and of the whole search.

    The arguments are those of `plot_rows`.
    """
    rows, chance = _rows(frame, metric, part)
    rows = rows.sort_values(metric, ascending=not get_metric(metric).higher_is_better)
    figure = Figure(figsize=(WIDTH + 2.4, max(4.6, 0.28 * len(rows) + 1.6)), layout="constrained")
    axes, side = figure.subplots(1, 2, width_ratios=(5, 2))
    listed = []
    for number, row in enumerate(rows.to_dict("records"), start=1):
        colour, score = COLOURS[(number - 1) % (len(COLOURS) - 2)], row[metric]
        one, whole = row["training"] + _known(row["share"]), row["search"] + _known(row["extraction"])
        one, whole = max(one, LEAST_SECONDS), max(whole, LEAST_SECONDS)
        if not row["of"]:  # the best of some rows is one of them: only its search is another one
            axes.plot([one, whole], [score, score], color=colour, linewidth=1, alpha=0.7, zorder=2)
            axes.vlines(one, row[f"{metric}_low"], row[f"{metric}_high"], color=colour, linewidth=1, alpha=0.5)
            axes.scatter([one], [score], s=60, color=colour, zorder=3)
            _number(axes, one, score, -7, number, colour)
        axes.scatter([whole], [score], s=50, facecolor="white", edgecolor=colour, linewidth=1.4, zorder=3)
        _number(axes, whole, score, 7, number, colour)
        unknown = "" if np.isfinite(row["extraction"]) else ", without its extraction"
        listed.append((colour, f"{number}  {row['name']}: {score:.3f}{unknown}"))
    listed.append(("black", f"{CHANCE}: {chance:.3f}"))
    if np.isfinite(extraction) and extraction > 0:
        axes.axvline(extraction, color="#555555", linestyle=":", linewidth=1.4, label=ONCE)
    axes.scatter([], [], s=60, color="#777777", label="one experiment, with its share of the extraction")
    alone = "whole search and extraction, for it alone"
    axes.scatter([], [], s=50, facecolor="white", edgecolor="#777777", label=alone)
    axes.set_xscale("log")
    axes.margins(x=0.08)
    _seconds_axis(axes)
    axes.set_ylabel(f"{metric} on {part}, 95 % interval")
    axes.grid(alpha=0.3)
    _list(side, listed, 2 / 7 * (WIDTH + 2.4) - 0.3)
    legend_above(figure, axes, title, columns=2)
    save_figure(figure, path)


def plot_robustness(curves: pd.DataFrame, metric: str, path: Path, title: str) -> None:
    """Score by the severity of corruptions, a panel a corruption and a line a row.

    Args:
        curves: `row, corruption, severity, score, low, high`; severity 0 is the images as they are.
        metric: The score.
        path: The PNG to write.
        title: Above the picture.
    """
    kinds, names = list(dict.fromkeys(curves["corruption"])), list(dict.fromkeys(curves["row"]))
    figure = Figure(figsize=(max(WIDTH, 3 * len(kinds)), 4 + 0.16 * len(names)), layout="constrained")
    panels: Any = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds, strict=True):
        for number, name in enumerate(names):
            rows = curves[(curves["corruption"] == kind) & (curves["row"] == name)].sort_values("severity")
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(rows["severity"], rows["score"], color=colour, marker="o", markersize=4, label=name)
            axes.fill_between(rows["severity"], rows["low"], rows["high"], color=colour, alpha=0.12, linewidth=0)
        axes.set_title(kind, fontsize=PANEL_TITLE, loc="left")
        axes.set_xlabel("severity")
        axes.grid(alpha=0.3)
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
    panels[0].set_ylabel(metric)
    legend_above(figure, panels[0], title, columns=2)
    save_figure(figure, path)


def _rows(frame: pd.DataFrame, metric: str, part: str) -> tuple[pd.DataFrame, float]:
    """The rows that have a score, with the names of scores without the part's; and the score of the baseline."""
    scores = [name for name in frame.columns if name.startswith(f"{part}_")]
    rows = frame.rename(columns={name: name.removeprefix(f"{part}_") for name in scores})
    chance = float(rows.loc[rows["name"] == MAJORITY, metric].iloc[0])
    rows = rows[(rows["name"] != MAJORITY) & rows[metric].notna()].copy()
    return rows, chance


def _seconds_axis(axes: Any) -> None:
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda seconds, _: f"{seconds:,.0f}" if seconds >= 1 else f"{seconds:g}")
    )
    axes.set_xlabel("processor seconds (logarithmic)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _number(axes: Any, x: float, y: float, shift: int, number: int, colour: str) -> None:
    """Write a row's number beside its mark."""
    side = "left" if shift > 0 else "right"
    axes.annotate(
        str(number), (x, y), (shift, 0), textcoords="offset points", ha=side, va="center", fontsize=8, color=colour
    )


def _known(seconds: float) -> float:
    return seconds if np.isfinite(seconds) else 0.0


def _list(axes: Any, lines: list[tuple[str, str]], inches: float) -> None:
    """Write coloured lines below each other."""
    axes.set_axis_off()
    height = 1.0
    step = 1.0 / max(sum(1 + fitted(text, inches, 8.0).count("\n") for _, text in lines), 10)
    for colour, text in lines:
        shown = fitted(text, inches, 8.0)
        axes.text(0, height, shown, color=colour, fontsize=8, va="top", transform=axes.transAxes, parse_math=False)
        height -= step * (1 + shown.count("\n"))
