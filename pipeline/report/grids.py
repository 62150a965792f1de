"""Grids on the page: backbones by augmentations, each cell a score with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.metrics import METRICS
from pipeline.report.board import Board, Row

if TYPE_CHECKING:
    from pipeline.grid import Grid


@dataclass(frozen=True)
class Cell:
    """One backbone with one augmentation.

    Attributes:
        value: The score, a mean over seeds; None where no run finished.
        low, high: The run's interval, or with several seeds their lowest and highest score.
        seeds: How many seeds finished.
        shade: From 0, the worst of the grid, to 1, the best.
        row: The run, where it is one and in the leaderboard.
        error: Why there is no score, or why a seed has none.
    """

    value: float | None
    low: float | None
    high: float | None
    seeds: int
    shade: float
    row: Row | None
    error: str


@dataclass(frozen=True, eq=False)
class GridView:
    """One grid: rows are backbones, columns augmentations."""

    grid: Grid
    backbones: list[str]
    augmentations: list[str]
    cells: dict[tuple[str, str], Cell]
    several_seeds: bool


def grid_views(grids: Sequence[Grid], board: Board) -> list[GridView]:
    """The grids, in the order given."""
    return [_view(grid, board) for grid in grids]


def _view(grid: Grid, board: Board) -> GridView:
    matrix = grid.matrix()
    values = matrix.to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    higher = METRICS[grid.metric].higher_is_better if grid.metric in METRICS else True
    every = grid.cells
    cells = {}
    for backbone in every["backbone"].unique():
        for augmentation in every["augmentation"].unique():
            rows = every[(every["backbone"] == backbone) & (every["augmentation"] == augmentation)]
            cells[str(backbone), str(augmentation)] = _cell(rows, grid.metric, low, high, higher, board)
    return GridView(
        grid,
        [str(name) for name in every["backbone"].unique()],
        [str(name) for name in every["augmentation"].unique()],
        cells,
        any(cell.seeds > 1 for cell in cells.values()),
    )


def _cell(rows: pd.DataFrame, metric: str, low: float, high: float, higher: bool, board: Board) -> Cell:
    done = rows[rows[metric].notna()]
    errors = [str(error) for error in rows["error"].dropna() if str(error)]
    error = errors[0] if errors else "" if len(rows) else "not asked for"
    if done.empty:
        return Cell(None, None, None, 0, 0.0, None, error or "no score")
    value = float(done[metric].mean())
    share = (value - low) / (high - low) if high > low else 1.0
    if len(done) == 1:
        ends = float(done["low"].iloc[0]), float(done["high"].iloc[0])
        row = board.of(str(done["run"].iloc[0]))
    else:
        ends, row = (float(done[metric].min()), float(done[metric].max())), None
    return Cell(value, *ends, len(done), share if higher else 1 - share, row, error)
