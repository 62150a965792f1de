"""Grids on the page: every cell with its interval, the means, what failed and why, and a link to the run."""

from dataclasses import replace

import pytest

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import FeaturesError
from hamcache.pipeline.runs.records import all_runs
from hamcache.pipeline.show.report.board import Board, make_board
from hamcache.pipeline.show.report.build import ReportSettings, build_report
from hamcache.pipeline.show.report.choose import choose
from hamcache.pipeline.show.report.grids import grid_views
from hamcache.pipeline.studies.experiments import Template, run_all
from hamcache.pipeline.studies.grid.cells import plan_grid
from hamcache.pipeline.studies.grid.matrix import Grid, save_grid


@pytest.fixture(scope="module")
def grid(make_world) -> Grid:
    """Two backbones with two augmentations, of which one cell failed."""
    world = make_world()
    for backbone, skill in (("net_a", 1.5), ("net_b", 0.5)):
        world.extract(backbone, skill=skill)
        world.extract(backbone, "flip", 2, skill=skill)
    cells = plan_grid(["net_a", "net_b"], ["none", "flip"], Template(settings={"dataset": str(world.csv)}), head="lda")
    outcomes = run_all([cell.experiment for cell in cells], world.workspace, workers=1)
    outcomes[3] = replace(outcomes[3], run=None, error=FeaturesError("net_b <has> NaN"))
    return save_grid(cells, outcomes, world.workspace)


@pytest.fixture(scope="module")
def board(grid: Grid) -> Board:
    return make_board(all_runs(Workspace(grid.folder.parents[1])), "mcc", resamples=100)


def test_cells_and_means_are_those_of_the_grid(grid, board) -> None:
    (view,) = grid_views([grid], board)
    assert (view.rows, view.columns, view.seeds) == (["net_a", "net_b", "mean"], ["none", "flip", "mean"], 1)
    for (backbone, augmentation), cell in view.cells.items():
        if cell.row is not None:
            assert (cell.value, cell.low, cell.high) == pytest.approx(
                tuple(grid.matrix(value=name).loc[backbone, augmentation] for name in ("score", "low", "high"))
            )
            assert cell.value == cell.row.run.metrics["validation"]["mcc"]
    assert view.cells["net_a", "mean"].value == pytest.approx(grid.matrix().loc["net_a"].mean())
    (best,) = [where for where, cell in view.cells.items() if cell.best]
    assert best == grid.best and view.cells[best].shade == 1
    assert view.majority == 0


def test_a_failed_cell_says_why_and_leaves_means_open(grid, board) -> None:
    (view,) = grid_views([grid], board)
    cell = view.cells["net_b", "flip"]
    assert cell.value is None and cell.error == "FeaturesError: net_b <has> NaN"
    assert view.cells["net_b", "mean"].value is None and view.cells["mean", "none"].value is not None


def test_a_grid_brings_its_runs_and_shows_them(grid, page, tmp_path) -> None:
    workspace = Workspace(grid.folder.parents[1])
    found = choose([grid.id], workspace)
    assert len(found.runs) == 3 and [one.id for one in found.grids] == [grid.id]
    out = tmp_path / "page.html"
    build_report([grid.id], workspace, out, ReportSettings(resamples=100, gallery=0))
    page.goto(out.as_uri())
    cells = page.locator("#grids tbody td")
    assert cells.count() == 9 and "net_b <has> NaN" in page.locator("#grids td.none").first.inner_text()
    page.locator("#grids td.top a").click()
    page.locator("#panel").wait_for()


def test_a_grid_that_cannot_be_read_is_left_out(grid) -> None:
    cells = grid.folder / "cells.csv"
    content = cells.read_text()
    cells.write_text("nothing\n")
    found = choose([], Workspace(grid.folder.parents[1]))
    cells.write_text(content)
    assert found.grids == [] and list(found.left_out) == [grid.id] and len(found.runs) == 4
