"""`hamcache train`: one experiment from configuration to finished run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hamcache.pipeline.cli import options

SHOWN = ("mcc", "weighted_f1", "macro_f1", "balanced_accuracy", "accuracy")


def train(
    config: Annotated[
        str, typer.Option(help="A YAML file, or the name of a packaged configuration (logreg, mlp, hybrid).")
    ] = "",
    set_: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE: any field, e.g. head.lr=1e-3.", metavar="KEY=VALUE")
    ] = [],  # noqa: B006
    dataset: Annotated[str, typer.Option(help="As in `extract` (default: the configuration's).")] = "",
    features: Annotated[str, typer.Option(help="Cached backbones, joined by + for a hybrid: A+B.")] = "",
    augmentation: Annotated[str, typer.Option(help="Of the --features.")] = "none",
    views: Annotated[int, typer.Option(min=1, help="Of the --features.")] = 1,
    head: Annotated[str, typer.Option(help="A head of the zoo (logreg, mlp, ...).")] = "",
    seed: Annotated[
        int | None, typer.Option(min=0, help="The experiment's seed: train/validation split, head.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Open the test set: score it, and say so in the log.")] = False,
    extract: Annotated[
        bool, typer.Option("--extract", help="First extract the features that the cache lacks.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run even if this experiment has a finished run.")] = False,
    plots: options.Plots = True,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    column: options.Columns = [],  # noqa: B006
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Train a head on cached features (or a net from images), score it on train and validation, and keep the run."""
    place = options.place(workspace, features_url)
    from hamcache.pipeline.cli.console import console, progress_bar
    from hamcache.pipeline.cli.extraction import extract_lacking
    from hamcache.pipeline.cli.pictures import draw_pictures
    from hamcache.pipeline.config.schema import blocks_from, load_config
    from hamcache.pipeline.experiment.runner import run_experiment

    overrides = options.overrides(dataset, column, seed, exclude, merge_groups)
    if features:
        overrides.append(f"features.blocks={json.dumps(blocks_from(features, augmentation, views))}")
    if head:
        overrides.append(f"head={json.dumps(head)}")
    experiment = load_config(config or None, [*overrides, *set_])
    options.announce_drawing(experiment.dataset, place)
    if extract:
        extract_lacking(experiment, place)
    with progress_bar("training", None, "images") as advance_to:  # drawn by nets only: a head takes seconds
        run = run_experiment(
            experiment,
            place,
            test=test,
            force=force,
            on_progress=console.print,
            on_batch=lambda p: advance_to(p.images_an_epoch * (p.epoch - 1) + p.images, p.images_an_epoch * p.epochs),
        )
    if plots and (count := draw_pictures([run])):
        console.print(f"{count} plots drawn")
    show_run(run)


def show_run(run: object) -> None:
    """Print a run's scores on each part, beside the majority-class baseline of validation."""
    from hamcache.pipeline.cli.console import console, show_table
    from hamcache.pipeline.runs.records import Run, plots_folder

    assert isinstance(run, Run)
    rows = [(part, *(values.get(name, float("nan")) for name in SHOWN)) for part, values in run.metrics.items()]
    chance = run.baseline("validation")
    rows.append(("majority class (validation)", *(chance.get(name, float("nan")) for name in SHOWN)))
    show_table(run.id, ("part", *SHOWN), rows)
    console.print(f"Run: {run.folder}" + (" (found finished, not run again)" if run.reused else ""))
    where = plots_folder(run.folder) if run.plots else f"none; draw them with `hamcache runs plot {run.id}`"
    console.print(f"Plots: {where}", highlight=False)
