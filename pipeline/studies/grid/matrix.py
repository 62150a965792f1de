"""Grids on disk: every augmentation by every backbone with one head, scored, kept and found again.

A grid's folder is `workspace/grids/<grid id>/` with `grid.json` (what it is of), `cells.csv` (one row a run),
`scores.csv` (one row a cell, mean over seeds, and the means of rows and columns, with intervals), `matrix.csv` (the
same scores as a table) and, once it is drawn, `heatmap.png`. The same cells give the same id, so a grid that is run
again replaces itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hamcache.data.files import write_csv, write_json
from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import METRICS
from hamcache.pipeline.errors import DamagedError
from hamcache.pipeline.runs.artefacts import Artefact, Kind, give_name, new_folder
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.runs.sealed import DIGESTS, Files, sealed
from hamcache.pipeline.runs.shapes import GRID
from hamcache.pipeline.studies.grid.cell_scores import MEAN, grid_scores
from hamcache.pipeline.studies.leaderboard import zoo_leaderboard

if TYPE_CHECKING:
    from hamcache.pipeline.studies.experiments import Outcome
    from hamcache.pipeline.studies.grid.cells import Cell

SETTINGS, CELLS, SCORES, MATRIX, HEATMAP = "grid.json", "cells.csv", "scores.csv", "matrix.csv", "heatmap.png"


@dataclass(frozen=True, eq=False)
class Grid(Artefact):
    """A grid as it is on disk.

    Attributes:
        settings: What it is of: `dataset, head, metric, policy, backbones, augmentations, views, seeds, parts,
            majority, finished`.
    """

    settings: dict[str, Any]

    @property
    def metric(self) -> str:
        """The metric of all scores."""
        return str(self.settings["metric"])

    @property
    def head(self) -> str:
        """The head of every cell."""
        return str(self.settings["head"])

    @property
    def backbones(self) -> list[str]:
        """The rows."""
        return list(self.settings["backbones"])

    @property
    def augmentations(self) -> list[str]:
        """The columns."""
        return list(self.settings["augmentations"])

    @property
    def parts(self) -> list[str]:
        """Parts that are scored: validation, and test where it was opened."""
        return list(self.settings["parts"])

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row a run: `backbone, augmentation, seed, run, <metric>, low, high, seconds, error`.

        With an opened test set also `test_<metric>, test_low, test_high`. The interval is the run's own.
        """
        on_test = [f"test_{self.metric}", "test_low", "test_high"] if "test" in self.parts else []
        numbers = ["seed", self.metric, "low", "high", "seconds", *on_test]
        return self._table(CELLS, ("backbone", "augmentation", "run", "error"), numbers)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`part, backbone, augmentation, seeds, score, low, high, p_holm`; see `cell_scores.grid_scores`."""
        scores = self._table(SCORES, ("part", "backbone", "augmentation"), ("seeds", "score", "low", "high", "p_holm"))
        names = ([*self.backbones, MEAN], [*self.augmentations, MEAN])
        if sorted(zip(*(scores[name] for name in ("part", "backbone", "augmentation")), strict=True)) != sorted(
            product(self.parts, *names)
        ):
            raise self.files.damaged(SCORES, "is about other cells than the grid")
        return scores

    def matrix(self, part: str = "validation", value: str = "score", means: bool = False) -> pd.DataFrame:
        """Backbones by augmentations: the mean over seeds, or an end of its interval.

        Args:
            part: One of `parts`.
            value: `score`, `low` or `high`.
            means: Also the means of rows and columns, named `mean`.
        """
        rows = self.scores[self.scores["part"] == part]
        more = [MEAN] if means else []
        table = rows.pivot(index="backbone", columns="augmentation", values=value)
        return table.loc[[*self.backbones, *more], [*self.augmentations, *more]].rename_axis(columns=None)

    @property
    def best(self) -> tuple[str, str] | None:
        """Backbone and augmentation of the best cell on validation; None where no cell has all its seeds."""
        return _best(self.scores[self.scores["part"] == "validation"], self.metric)

    def apart(self, part: str = "validation", level: float = 0.05) -> int:
        """Number of cells that differ from the best one by more than chance: their `p_holm` is below `level`."""
        rows = self.scores[self.scores["part"] == part]
        return int((rows["p_holm"] < level).sum())

    @property
    def files(self) -> Files:
        """Its files, to be read strictly."""
        return _files(self.folder, self.settings.get(DIGESTS))

    def flaws(self) -> list[DamagedError]:
        """Flaws of its files, one a file."""
        return self.files.flaws(lambda: self.cells, lambda: self.scores)

    def _table(self, name: str, columns: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
        return self.files.table(
            name,
            (*columns, *numbers),
            numbers,
            dtype=dict.fromkeys(("backbone", "augmentation", "part", "run", "error"), "str"),
            keep_default_na=False,
            na_values={number: [""] for number in numbers},
        )


def save_grid(cells: Sequence[Cell], outcomes: Sequence[Outcome], workspace: Workspace) -> Grid:
    """Score a grid that was run, and keep it.

    Args:
        cells: What `plan_grid` gave.
        outcomes: What became of them, in their order; at least one is a run.
        workspace: Gets `grids/<grid id>/`.
    """
    config = cells[0].experiment.config
    metric = config.objective
    runs = [outcome.run for outcome in outcomes if outcome.run is not None]
    parts = ["validation", "test"] if all("test" in run.metrics for run in runs) else ["validation"]
    scored = [(cell.backbone, cell.augmentation, outcome.run) for cell, outcome in zip(cells, outcomes, strict=True)]
    of_seed = {cell.seed: o.run for cell, o in zip(cells, outcomes, strict=True) if o.run is not None}
    about = runs[0].provenance["summary"]
    settings = {
        "dataset": about["dataset"],
        "head": cells[0].experiment.head,
        "metric": metric,
        "policy": about["policy"],
        "backbones": list(dict.fromkeys(cell.backbone for cell in cells)),
        "augmentations": list(dict.fromkeys(cell.augmentation for cell in cells)),
        "views": {cell.augmentation: cell.views for cell in cells},
        "seeds": list(dict.fromkeys(cell.seed for cell in cells)),
        "parts": parts,
        "majority": {p: float(np.mean([r.baseline(p)[metric] for r in of_seed.values()])) for p in parts},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with new_folder(workspace.grids) as folder:
        write_csv(folder / CELLS, _cells_table(cells, outcomes, metric))
        write_csv(folder / SCORES, _scores_table(scored, metric, parts))
        grid = Grid(folder, settings)
        matrices = pd.concat({part: grid.matrix(part, means=True) for part in parts}, names=["part"])
        write_csv(folder / MATRIX, matrices.reset_index())
        write_json(folder / SETTINGS, sealed(settings, folder, (CELLS, SCORES, MATRIX)))
        return read_grid(give_name(folder, _grid_id(cells, about["dataset"]), replace=True))


def read_grid(folder: Path) -> Grid:
    """The grid in one folder.

    Raises:
        DamagedError: A file is missing, damaged, or not the one that was written.
    """
    settings, files = _files(folder).record(SETTINGS, GRID)
    if settings["metric"] not in METRICS:
        raise files.damaged(SETTINGS, f"names a metric that does not exist ({settings['metric']})")
    return Grid(folder, settings)


def _files(folder: Path, digests: Mapping[str, str] | None = None) -> Files:
    return Files(folder, "grid", "Run `hamcache grid` again to replace it.", digests)


def _by_age(grid: Grid) -> tuple[str, str]:
    return str(grid.settings.get("finished", "")), grid.id


GRIDS = Kind("grid", attrgetter("grids"), SETTINGS, read_grid, _by_age, "`hamcache grids` lists grids.")
all_grids, load_grid = GRIDS.all, GRIDS.load


def _grid_id(cells: Sequence[Cell], dataset: str) -> str:
    """`<head>-<data set>-<rows>x<columns>-<6 digits>`; the same cells always get the same one."""
    digest = hashlib.sha256("".join(sorted(cell.experiment.config.digest for cell in cells)).encode()).hexdigest()
    rows, columns = (len({getattr(cell, name) for cell in cells}) for name in ("backbone", "augmentation"))
    name = f"{cells[0].experiment.head}-{dataset}-{rows}x{columns}-{digest[:6]}"
    return re.sub(r"[^A-Za-z0-9+._-]", "_", name)


def _cells_table(cells: Sequence[Cell], outcomes: Sequence[Outcome], metric: str) -> pd.DataFrame:
    """The rows of `cells.csv`; each run's interval is that of `hamcache runs` and `zoo`."""
    rows = [
        (cell.backbone, cell.augmentation, cell.seed, "" if outcome.run is None else outcome.run.id, outcome.reason)
        for cell, outcome in zip(cells, outcomes, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["backbone", "augmentation", "seed", "run", "error"])
    runs = [outcome.run for outcome in outcomes if outcome.run is not None]
    board = zoo_leaderboard(runs, [metric]).set_index("run")
    scores = [metric, "low", "high", "seconds"]
    on_test = [name for name in board.columns if name.startswith("test_")]
    table = table.join(board[[*scores, *on_test]], on="run")
    return table[["backbone", "augmentation", "seed", "run", *scores, "error", *on_test]]


def _scores_table(cells: Sequence[tuple[str, str, Run | None]], metric: str, parts: Sequence[str]) -> pd.DataFrame:
    """The rows of `scores.csv`; on the test set, too, cells are compared with the best one on validation."""
    tables: list[pd.DataFrame] = []
    best = None
    for part in parts:
        scores = grid_scores(cells, metric, part, best=best)
        tables.append(scores.assign(part=part))
        best = best or _best(scores, metric)
    table = pd.concat(tables, ignore_index=True)
    return table[["part", *table.columns.drop("part")]]


def _best(scores: pd.DataFrame, metric: str) -> tuple[str, str] | None:
    """Backbone and augmentation of the best cell in one part's rows; None where no cell has all its seeds."""
    of_cells = scores[(scores["backbone"] != MEAN) & (scores["augmentation"] != MEAN)].dropna(subset="score")
    if of_cells.empty:
        return None
    values = of_cells["score"].to_numpy()
    row = of_cells.iloc[int(values.argmax() if METRICS[metric].higher_is_better else values.argmin())]
    return str(row["backbone"]), str(row["augmentation"])
