"""Grids on the page: backbones by augmentations, each cell a score with its interval, and the means of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hamcache.heads.metrics import get_metric
from hamcache.pipeline.show.report.board import Board, Row

if TYPE_CHECKING:
    from hamcache.pipeline.studies.grid.matrix import Grid


@dataclass(frozen=True)
class Cell:
    """One backbone with one augmentation, or a mean.

    Attributes:
        value, low, high: The score, a mean over seeds, and its interval; None where a run is missing.
        shade: From 0, the worst of the grid, to 1, the best.
        best: Whether it is the best cell.
        row: Its run, where it has one seed and the run is in the leaderboard.
        error: Why there is no score.
    """

    value: float | None
    low: float | None
    high: float | None
    shade: float
    best: bool
    row: Row | None
    error: str


@dataclass(frozen=True, eq=False)
class GridView:
    """One grid.

    Attributes:
        grid: The grid.
        part: Where its scores come from.
        seeds: How many seeds each cell has.
        rows, columns: Backbones and augmentations, the last of each the mean.
        cells: By backbone and augmentation.
        majority: The score of always guessing the most frequent class, or None.
    """

    grid: Grid
    part: str
    seeds: int
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Cell]
    majority: float | None


def grid_views(grids: Sequence[Grid], board: Board) -> list[GridView]:
    """The grids, in the order given."""
    return [_view(grid, board) for grid in grids]


def _view(grid: Grid, board: Board) -> GridView:
    part = board.part if board.part in grid.parts else "validation"
    score, low, high = (grid.matrix(part, value, means=True) for value in ("score", "low", "high"))
    own = score.iloc[:-1, :-1].to_numpy(dtype=float)
    higher = get_metric(grid.metric).higher_is_better
    cells = {}
    for backbone in score.index:
        for augmentation in score.columns:
            runs = grid.cells[(grid.cells["backbone"] == backbone) & (grid.cells["augmentation"] == augmentation)]
            value, *ends = (float(table.loc[backbone, augmentation]) for table in (score, low, high))
            errors = [str(error) for error in runs["error"] if str(error)]
            cells[str(backbone), str(augmentation)] = Cell(
                value=_number(value),
                low=_number(ends[0]),
                high=_number(ends[1]),
                shade=_shade(value, own, higher),
                best=bool((backbone, augmentation) == grid.best),
                row=board.of(str(runs["run"].iloc[0])) if len(runs) == 1 else None,
                error=errors[0] if errors else "" if np.isfinite(value) else "a run is missing",
            )
    return GridView(
        grid=grid,
        part=part,
        seeds=int(grid.cells["seed"].nunique()),
        rows=[str(name) for name in score.index],
        columns=[str(name) for name in score.columns],
        cells=cells,
        majority=grid.settings.get("majority", {}).get(part),
    )


def _shade(value: float, all_values: np.ndarray, higher: bool) -> float:
    finite = all_values[np.isfinite(all_values)]
    if not len(finite) or not np.isfinite(value):
        return 0.0
    low, high = float(finite.min()), float(finite.max())
    share = (value - low) / (high - low) if high > low else 1.0
    return share if higher else 1 - share


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
