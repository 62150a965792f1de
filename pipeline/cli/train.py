"""`hamcache train`: one experiment from configuration to finished run."""

from __future__ import annotations

from hamcache.configs.defaults import SCORES
from hamcache.pipeline.cli import bundles, options, pictures
from hamcache.pipeline.cli.console import progress_bar, say, show_table
from hamcache.pipeline.cli.extraction import announce_drawing, prepare


def train(
    settings: bundles.OneExperiment,
    extracting: bundles.Extraction,
    workspace: bundles.FullWorkspace,
    config: options.Config = None,
    test: options.Test = False,
    force: options.Force = False,
    plots: options.Plots = True,
) -> None:
    """Train a head on cached features (or a net from images), score it on train and validation, and keep the run."""
    from hamcache.pipeline.config.schema import load_config

    experiment = load_config(config, settings)
    if extracting.extract:
        prepare([experiment], workspace, extracting)
    else:
        announce_drawing(experiment.dataset, workspace)
    from hamcache.pipeline.experiment.runner import run_experiment

    with progress_bar("training", None, "images") as advance_to:  # drawn by nets only: a head takes seconds
        run = run_experiment(
            experiment,
            workspace,
            test=test,
            force=force,
            on_progress=say,
            on_batch=lambda p: advance_to(p.images_an_epoch * (p.epoch - 1) + p.images, p.images_an_epoch * p.epochs),
        )
    if plots and (count := pictures.draw_pictures([run])):
        say(f"{count} plots drawn")
    show_run(run)


def show_run(run: object) -> None:
    """Print a run's scores on each part, beside the majority-class baseline of validation."""
    from hamcache.pipeline.runs.records import Run, plots_folder

    assert isinstance(run, Run)
    rows = [(part, *(values.get(name, float("nan")) for name in SCORES)) for part, values in run.metrics.items()]
    chance = run.baseline("validation")
    rows.append(("majority class (validation)", *(chance.get(name, float("nan")) for name in SCORES)))
    show_table(run.id, ("part", *SCORES), rows)
    say(f"Run: {run.folder}" + (" (found finished, not run again)" if run.reused else ""))
    where = plots_folder(run.folder) if run.plots else f"none; draw them with `hamcache runs plot {run.id}`"
    say(f"Plots: {where}")
