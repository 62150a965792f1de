"""`hamcache grid`: every augmentation by every backbone, with one head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import GRID_VIEWS
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import say, show_table, warn
from hamcache.pipeline.cli.zoo import run_behind_bar, warn_of_failures

if TYPE_CHECKING:
    from hamcache.pipeline.studies.grid.matrix import Grid


def grid(
    settings: bundles.SeededExperiments,
    running: bundles.ExtractingStudy,
    workspace: bundles.FullWorkspace,
    features: options.Features,
    augmentations: options.Augmentations,
    head: options.Head = None,
    views: options.Views = GRID_VIEWS,
    seeds: Annotated[
        str | None,
        typer.Option(help="Seeds, separated by commas: a cell is their mean (default: the configuration's)."),
    ] = None,
    config: options.Config = None,
) -> None:
    """Score every augmentation with every backbone: one matrix, with intervals. Finished cells are not run again.

    The feature sets are the rows, the augmentations the columns.
    """
    from hamcache.pipeline.studies.experiments import Template
    from hamcache.pipeline.studies.grid.cells import plan_grid, same_views
    from hamcache.pipeline.studies.grid.matrix import HEATMAP, save_grid

    rows, columns, template = options.listed(features), options.listed(augmentations), Template(config, settings)
    cells = plan_grid(rows, columns, template, head=head, views=views, seeds=_numbers(seeds))
    for names in same_views({cell.augmentation: cell.views for cell in cells}, template.augmentations):
        warn(
            f"Note: the first views of {' and '.join(names)} are the same pictures: with --views {views} these columns "
            "are equal."
        )
    outcomes = run_behind_bar([cell.experiment for cell in cells], workspace, running, apart=True)
    made = save_grid(cells, outcomes, workspace)
    from hamcache.pipeline.show.plots.grid import plot_grid  # imports matplotlib

    plot_grid(made, made.folder / HEATMAP)
    for part in made.parts:
        _show(made, part)
    failed = warn_of_failures(outcomes)
    reused = sum(outcome.reused for outcome in outcomes)
    say(
        f"{len(outcomes)} cells: {len(outcomes) - reused - failed} run, {reused} found finished, "
        f"{failed} failed. Grid: {made.folder} ({HEATMAP})"
    )


def _show(grid: Grid, part: str) -> None:
    """The matrix of one part, each score above its interval; a star marks the best cell on validation."""
    import numpy as np

    from hamcache.pipeline.studies.grid.cell_scores import MEAN

    def words(backbone: str, augmentation: str, score: float, low: float, high: float) -> str:
        if score != score:
            return "incomplete"
        star = " *" if (backbone, augmentation) == grid.best else ""
        return f"{score:.3f}{star}\n{low:.3f}-{high:.3f}"

    about, downs, acrosses = grid.settings, [*grid.backbones, MEAN], [*grid.augmentations, MEAN]
    names = [f"{name} x{about['views'][name]}" for name in grid.augmentations]
    values = [grid.matrix(part, value, means=True).to_numpy(float) for value in ("score", "low", "high")]
    cells = np.stack(values, axis=-1)
    rows = [
        (
            "mean of backbones" if down == MEAN else down,
            *(words(down, across, *cell) for across, cell in zip(acrosses, of_row, strict=True)),
        )
        for down, of_row in zip(downs, cells, strict=True)
    ]
    seeds = ", ".join(map(str, about["seeds"]))
    show_table(
        f"{grid.metric} on {part}: {grid.head}, {about['dataset']}, {about['policy']}, seed {seeds}",
        ("backbone", *names, "mean"),
        rows,
        caption=f"Below each score its 95 % bootstrap interval over lesions. The majority class alone scores "
        f"{about['majority'][part]:.3f}. * the best of {len(downs[:-1]) * len(names)} cells on validation; "
        f"{grid.apart(part)} of the others differ from it by more than chance (paired bootstrap, Holm, 5 %).",
    )


def _numbers(seeds: str | None) -> list[int]:
    """`"0, 1"` as numbers."""
    parts = options.listed(seeds)
    wrong = [part for part in parts if not (part.isascii() and part.isdecimal() and len(part) < 20)]
    if wrong:
        raise typer.BadParameter(
            f"expected whole numbers separated by commas, got {wrong[0]!r:.100}", param_hint="--seeds"
        )
    return [int(part) for part in parts]
