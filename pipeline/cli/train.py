"""`hamcache train`: one experiment from configuration to finished run."""

from __future__ import annotations

from hamcache.configs.defaults import AUGMENTATION, SCORES, VIEWS
from hamcache.pipeline.cli import options


def train(
    config: options.Config = None,
    set_: options.Set = None,
    dataset: options.Dataset = None,
    features: options.Features = None,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    head: options.Head = None,
    seed: options.Seed = None,
    test: options.Test = False,
    extract: options.Extract = False,
    force: options.Force = False,
    plots: options.Plots = True,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    column: options.Columns = None,
    dataset_name: options.DatasetName = None,
    workspace: options.WorkspacePath = options.WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Train a head on cached features (or a net from images), score it on train and validation, and keep the run."""
    place = options.place(workspace, features_url)
    from hamcache.pipeline.cli.console import console, progress_bar
    from hamcache.pipeline.config.schema import load_config

    settings = options.settings(
        set_,
        dataset=dataset,
        dataset_name=dataset_name,
        column=column,
        seed=seed,
        exclude=exclude,
        merge_groups=merge_groups,
        features=features,
        augmentation=augmentation,
        views=views,
        head=head,
    )
    experiment = load_config(config, settings)
    from hamcache.pipeline.cli.extraction import extract_lacking
    from hamcache.pipeline.cli.pictures import draw_pictures
    from hamcache.pipeline.experiment.runner import run_experiment

    options.announce_drawing(experiment.dataset, place)
    if extract:
        extract_lacking([experiment], place)
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
    rows = [(part, *(values.get(name, float("nan")) for name in SCORES)) for part, values in run.metrics.items()]
    chance = run.baseline("validation")
    rows.append(("majority class (validation)", *(chance.get(name, float("nan")) for name in SCORES)))
    show_table(run.id, ("part", *SCORES), rows)
    console.print(f"Run: {run.folder}" + (" (found finished, not run again)" if run.reused else ""))
    where = plots_folder(run.folder) if run.plots else f"none; draw them with `hamcache runs plot {run.id}`"
    console.print(f"Plots: {where}", highlight=False)
