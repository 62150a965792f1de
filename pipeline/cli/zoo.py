"""`hamcache zoo` and `hamcache hybrids`: many heads, or many hybrids, into one leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamcache.configs.defaults import AUGMENTATION, VIEWS
from hamcache.pipeline.cli import options

if TYPE_CHECKING:
    from hamcache.data.workspace import Workspace
    from hamcache.pipeline.studies.experiments import Experiment, Outcome
    from hamcache.pipeline.studies.leaderboard import Leaderboard


def zoo(
    features: options.Features = None,
    heads: options.Heads = None,
    config: options.Config = None,
    set_: options.Set = None,
    dataset: options.Dataset = None,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    seed: options.Seed = None,
    test: options.Test = False,
    extract: options.Extract = False,
    workers: options.Workers = None,
    plots: options.Plots = True,
    out: Annotated[Path | None, options.out("The leaderboard (default: in WORKSPACE/zoo); a PNG beside.")] = None,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    column: options.Columns = None,
    dataset_name: options.DatasetName = None,
    workspace: options.WorkspacePath = options.WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Train every head on every feature set, in parallel, into one leaderboard; finished heads are not run again.

    Without --features: those of --config; without --heads: all there are.
    """
    place = options.place(workspace, features_url)
    from hamcache.data.files import write_csv
    from hamcache.pipeline.cli.console import console
    from hamcache.pipeline.studies.experiments import Template, plan

    settings = options.settings(
        set_,
        dataset=dataset,
        dataset_name=dataset_name,
        column=column,
        seed=seed,
        exclude=exclude,
        merge_groups=merge_groups,
    )
    experiments = plan(
        options.listed(features),
        options.listed(heads),
        Template(config, settings),
        augmentation=augmentation,
        views=views,
    )
    outcomes = run_behind_bar(experiments, place, extract=extract, plots=plots, test=test, workers=workers)
    from hamcache.pipeline.show.plots.boards import plot_zoo
    from hamcache.pipeline.studies.leaderboard import Leaderboard

    board = Leaderboard(outcomes)
    target = out or board.default_path(place, "zoo")
    picture = target.with_suffix(".png")
    write_csv(target, board.frame)
    plot_zoo(board.by_name, board.metric, board.chance, picture, board.title)
    _show(board)
    console.print(f"Wrote {target} and {picture.name}")


def hybrids(
    backbones: options.Backbones,
    head: options.Head = None,
    config: options.Config = None,
    set_: options.Set = None,
    dataset: options.Dataset = None,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    seed: options.Seed = None,
    test: options.Test = False,
    extract: options.Extract = False,
    workers: options.Workers = None,
    plots: options.Plots = True,
    out: Annotated[
        Path | None, options.out("The scores (default: in WORKSPACE/hybrids); the rest lies beside.")
    ] = None,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    column: options.Columns = None,
    dataset_name: options.DatasetName = None,
    workspace: options.WorkspacePath = options.WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Score every subset of some backbones with one head, and show what each backbone adds to the whole."""
    place = options.place(workspace, features_url)
    from hamcache.data.files import write_csv
    from hamcache.pipeline.cli.console import console, plain_rows, show_table
    from hamcache.pipeline.studies.experiments import Template, plan
    from hamcache.pipeline.studies.hybrids import subsets, what_each_adds

    names = options.listed(backbones)
    settings = options.settings(
        set_,
        dataset=dataset,
        dataset_name=dataset_name,
        column=column,
        seed=seed,
        exclude=exclude,
        merge_groups=merge_groups,
    )
    template = Template(config, settings)
    experiments = plan(subsets(names), [head or template.head], template, augmentation=augmentation, views=views)
    outcomes = run_behind_bar(experiments, place, extract=extract, plots=plots, test=test, workers=workers)
    import pandas as pd

    from hamcache.pipeline.show.plots.boards import plot_hybrids
    from hamcache.pipeline.studies.leaderboard import Leaderboard

    board = Leaderboard(outcomes)
    runs = {outcome.experiment.features: outcome.run for outcome in outcomes if outcome.run is not None}
    parts = ["validation", "test"] if test else ["validation"]
    adds = {part: what_each_adds(runs, names, board.metric, part) for part in parts}
    target = out or board.default_path(place, "hybrids")
    picture, beside = target.with_suffix(".png"), target.with_name(f"{target.stem}-adds.csv")
    write_csv(target, board.frame)
    write_csv(beside, pd.concat(adds.values()))
    plot_hybrids(board.by_name, adds["validation"], board.metric, board.chance, picture, board.title)
    _show(board)
    for part, frame in adds.items():
        show_table(
            f"What each backbone adds to {'+'.join(names)}: {board.metric} on {part}",
            list(frame.columns.drop("part")),
            plain_rows(frame.drop(columns="part")),
            caption="The full hybrid's score less that without the backbone; paired bootstrap over lesions, 95 %; "
            "p_holm is corrected for the number of backbones.",
        )
    console.print(f"Wrote {target}, {beside.name} and {picture.name}")


def run_behind_bar(
    experiments: list[Experiment], workspace: Workspace, *, extract: bool, plots: bool, **options_of_run: Any
) -> list[Outcome]:
    """Run experiments behind a bar, a line each, and draw them; takes the options of `studies.experiments.run_all`."""
    from hamcache.pipeline.cli.console import console, progress_bar
    from hamcache.pipeline.cli.pictures import draw_pictures, runs_of
    from hamcache.pipeline.studies.experiments import run_all

    options.announce_drawing(experiments[0].config.dataset, workspace)
    done = 0
    try:
        if extract:
            from hamcache.pipeline.cli.extraction import extract_lacking

            extract_lacking([experiment.config for experiment in experiments], workspace)
        with progress_bar("training", len(experiments), "heads") as advance_to:

            def tell(outcome: Outcome) -> None:
                nonlocal done
                done += 1
                console.print(line_of(outcome), highlight=False, markup=False)
                advance_to(done, None)

            outcomes = run_all(experiments, workspace, on_outcome=tell, **options_of_run)
        if plots:
            draw_pictures(runs_of(outcomes), options_of_run.get("workers"))
        return outcomes
    except KeyboardInterrupt:
        console.print("Interrupted. Finished work is kept; the same command goes on from there.")
        raise typer.Exit(1) from None


def line_of(outcome: Outcome) -> str:
    """One line on what became of an experiment."""
    one, run = outcome.experiment, outcome.run
    if run is None:
        return f"{one.head} on {one.features}: FAILED: {outcome.reason}"
    score = f"{one.config.objective} {run.metrics['validation'][one.config.objective]:.3f}"
    return f"{one.head} on {one.features}: {score}, " + (
        "found finished" if outcome.reused else f"{run.provenance['seconds']['total']:.1f} s"
    )


def _show(board: Leaderboard) -> None:
    from hamcache.pipeline.cli.console import console, errors, plain_rows, show_table

    show_table(
        f"{board.title}: scores on validation",
        list(board.for_people.columns),
        plain_rows(board.for_people),
        caption=f"low, high: 95 % bootstrap interval of {board.metric} over lesions; seconds: of fitting.",
    )
    failed = [outcome for outcome in board.outcomes if outcome.run is None]
    for outcome in failed:
        errors.print(line_of(outcome), highlight=False, markup=False)
    if failed:
        console.print(
            f"{len(failed)} of {len(board.outcomes)} failed; `hamcache train` runs one of them with its whole log."
        )
