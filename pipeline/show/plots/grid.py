"""The heat map of a grid: backbones down, augmentations across."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.show.plots.style import COLOURS, panel_title, save_figure, titled
from hamcache.pipeline.studies.grid.cell_scores import MEAN
from hamcache.pipeline.studies.grid.matrix import Grid

_MAP = "cividis"  # perceptually uniform, and the same for the colour-blind (Nunez et al. 2018)
_CELL = (1.25, 0.75)  # inches
_GAP = 0.25  # between the cells and the means, in cells


def plot_grid(grid: Grid, path: Path) -> None:
    """Draw each cell's score and interval, and the means of rows and columns; the best cell on validation is framed.

    A panel a part: validation, and the test set where it was opened. Brighter is better, also for losses.
    """
    rows, columns = len(grid.backbones) + 1 + _GAP, len(grid.augmentations) + 1 + _GAP
    size = (columns * _CELL[0] + 3.4, len(grid.parts) * (rows * _CELL[1] + 0.75) + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    better = METRICS[grid.metric].higher_is_better
    colours = colormaps[_MAP if better else f"{_MAP}_r"]
    values = np.concatenate([grid.matrix(part).to_numpy().ravel() for part in grid.parts])
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 1.0)
    scale = Normalize(low, high if high > low else low + 0.01)
    for axes, part in zip(figure.subplots(len(grid.parts), 1, squeeze=False)[:, 0], grid.parts, strict=True):
        _panel(axes, grid, part, colours, scale)
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=figure.axes, fraction=0.03, pad=0.01)
    bar.set_label(f"{grid.metric} of a cell ({'higher' if better else 'lower'} is better)")
    titled(figure, _title(grid))
    save_figure(figure, path)


def _panel(axes: Any, grid: Grid, part: str, colours: Any, scale: Normalize) -> None:
    values = [grid.matrix(part, value, means=True).to_numpy(float) for value in ("score", "low", "high")]
    cells = np.stack(values, axis=-1)
    downs, acrosses = [*grid.backbones, MEAN], [*grid.augmentations, MEAN]
    y = {name: n + _GAP * (name == MEAN) for n, name in enumerate(downs)}
    x = {name: n + _GAP * (name == MEAN) for n, name in enumerate(acrosses)}
    for down, of_row in zip(downs, cells, strict=True):
        for across, cell in zip(acrosses, of_row, strict=True):
            colour = None if MEAN in (down, across) else colours(scale(cell[0]))
            _cell(axes, x[across], y[down], cell, colour)
    if grid.best is not None:
        backbone, augmentation = grid.best
        place = (x[augmentation] - 0.47, y[backbone] - 0.47)
        axes.add_patch(Rectangle(place, 0.94, 0.94, fill=False, edgecolor=COLOURS[5], linewidth=3.5))
    axes.set_xlim(-0.55, len(acrosses) - 0.45 + _GAP)
    axes.set_ylim(len(downs) - 0.45 + _GAP, -0.55)
    axes.set_xticks(list(x.values()), [_column_name(grid, name) for name in acrosses], fontsize=9)
    axes.set_yticks(list(y.values()), ["mean of backbones" if name == MEAN else name for name in downs], fontsize=9)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set(xlabel="augmentation", ylabel="backbone")
    majority = grid.settings["majority"][part]
    others = len(grid.backbones) * len(grid.augmentations) - 1
    title = f"{part}; the majority class alone scores {majority:.3f}; {grid.apart(part)} of the {others} other cells"
    panel_title(axes, f"{title} differ from the framed one by more than chance", len(acrosses) * _CELL[0] + 0.6)


def _cell(axes: Any, x: float, y: float, score: np.ndarray, colour: Any) -> None:
    value, low, high = score
    if np.isnan(value):
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="#EEEEEE", edgecolor="#999999", hatch="//"))
        axes.text(x, y, "incomplete", ha="center", va="center", fontsize=8, bbox={"facecolor": "white", "pad": 1.5})
        return
    face = "white" if colour is None else colour
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor="white" if colour else "#999999"))
    light = colour is None or np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.5
    ink = "black" if light else "white"
    axes.text(x, y - 0.14, f"{value:.3f}", ha="center", va="center", color=ink, fontsize=11, fontweight="bold")
    axes.text(x, y + 0.22, f"{low:.3f} to {high:.3f}", ha="center", va="center", color=ink, fontsize=7.5)


def _column_name(grid: Grid, name: str) -> str:
    if name == MEAN:
        return "mean of\naugmentations"
    views = grid.settings["views"][name]
    return f"{name}\n{views} {'view' if views == 1 else 'views'}"


def _title(grid: Grid) -> str:
    about = grid.settings
    seeds = about["seeds"]
    runs = f"seed {seeds[0]}" if len(seeds) == 1 else f"mean over seeds {', '.join(map(str, seeds))}"
    return (
        f"{grid.metric} of {grid.head} on {about['dataset']} ({about['policy']}, {runs})\n"
        "with 95 % bootstrap interval over lesions; framed: the best cell on validation, with which the others are "
        "compared (paired, Holm, 5 %)"
    )
