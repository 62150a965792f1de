"""`hamcache grid`: every augmentation by every backbone, with one head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.pipeline.cli import options
from hamcache.pipeline.cli.zoo import Config, Data, Jobs, Settings, Test, line_of, listed, run_behind_bar

if TYPE_CHECKING:
    from hamcache.pipeline.studies.grid.matrix import Grid


def grid(
    backbones: Annotated[str, typer.Option(help="The rows, separated by commas; + makes a hybrid.", metavar="A,B,C")],
    augmentations: Annotated[str, typer.Option(help="The columns: recipes, separated by commas.", metavar="A,B,C")],
    head: Annotated[str, typer.Option(help="The head of every cell (default: the configuration's, or logreg).")] = "",
    views: Annotated[int, typer.Option(min=1, help="Views of each augmentation, as far as it has them.")] = 2,
    seeds: Annotated[
        str, typer.Option(help="Seeds separated by commas: a cell is their mean (default: the configuration's).")
    ] = "",
    config: Config = "",
    set_: Settings = [],  # noqa: B006
    dataset: Data = "",
    test: Test = False,
    extract: Annotated[
        bool, typer.Option("--extract/--no-extract", help="First extract the features that the cache lacks.")
    ] = True,
    jobs: Jobs = None,
    plots: options.Plots = True,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    column: options.Columns = [],  # noqa: B006
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Score every augmentation with every backbone: one matrix, with intervals. What is finished is not run again."""
    place = options.place(workspace, features_url)
    from hamcache.pipeline.cli.console import console, errors
    from hamcache.pipeline.show.plots.grid import plot_grid  # imports matplotlib
    from hamcache.pipeline.studies.experiments import Template
    from hamcache.pipeline.studies.grid.cells import plan_grid, same_views
    from hamcache.pipeline.studies.grid.matrix import HEATMAP, save_grid

    cells = plan_grid(
        listed(backbones),
        listed(augmentations),
        Template(config or None, options.overrides(dataset, column, None, exclude, merge_groups), set_),
        head=head or None,
        views=views,
        seeds=_numbers(seeds),
    )
    for names in same_views({cell.augmentation: cell.views for cell in cells}):
        errors.print(
            f"Note: the first views of {' and '.join(names)} are the same pictures: with --views {views} these columns "
            "are equal.",
            highlight=False,
        )
    outcomes = run_behind_bar(
        [cell.experiment for cell in cells],
        place,
        extract=extract,
        plots=plots,
        test=test,
        workers=jobs,
        apart=True,
    )
    made = save_grid(cells, outcomes, place)
    plot_grid(made, made.folder / HEATMAP)
    for part in made.parts:
        _show(made, part)
    failed = [outcome for outcome in outcomes if outcome.run is None]
    for outcome in failed:
        errors.print(line_of(outcome), highlight=False, markup=False)
    reused = sum(outcome.reused for outcome in outcomes)
    console.print(
        f"{len(outcomes)} cells: {len(outcomes) - reused - len(failed)} run, {reused} found finished, "
        f"{len(failed)} failed. Grid: {made.folder} ({HEATMAP})",
        highlight=False,
    )


def _show(grid: Grid, part: str) -> None:
    """The matrix of one part, each score above its interval; a star marks the best cell on validation."""
    import numpy as np

    from hamcache.pipeline.cli.console import show_table
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


def _numbers(seeds: str) -> list[int]:
    """`"0, 1"` as numbers."""
    parts = listed(seeds)
    wrong = [part for part in parts if not (part.isascii() and part.isdecimal())]
    if wrong:
        raise typer.BadParameter(f"expected whole numbers separated by commas, got {wrong[0]!r}", param_hint="--seeds")
    return [int(part) for part in parts]
