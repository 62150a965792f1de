"""`hamcache sweep`: search the open values of an experiment."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import MOST_TRIALS, SEARCHES, STOPPINGS
from hamcache.pipeline.cli import bundles, options, pictures
from hamcache.pipeline.cli.console import interruptible, lines_console, progress_bar, say, show_table, warn
from hamcache.pipeline.cli.extraction import prepare

if TYPE_CHECKING:
    from hamcache.pipeline.studies.sweeps.results import Sweep

BEST = 5


def sweep(
    values: bundles.SweptExperiment,
    extracting: bundles.Extraction,
    workspace: bundles.FullWorkspace,
    config: options.Config = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Go on with this sweep: its folder, its id or the beginning of it.", metavar="SWEEP"),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=MOST_TRIALS, help="Trials in all (default: the configuration's).")
    ] = None,
    search: Annotated[str | None, options.word(SEARCHES, "optuna (TPE), random, or grid: all points.")] = None,
    stopping: Annotated[
        str | None, options.word(STOPPINGS, "asha: stop bad trials early; none: train all to their end.")
    ] = None,
    seed: options.Seed = None,
    workers: options.Workers = None,
    finalize: Annotated[
        bool, typer.Option("--finalize", help="Train the best again as a run, and score it on the test set, once.")
    ] = False,
    ray_address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster (HOST:PORT, or auto).", metavar="ADDRESS")
    ] = None,
) -> None:
    """Search an experiment's open values with many short trials; what was killed goes on where it was.

    Packaged sweeps are mlp, cnn, resnet, densenet and hybrid. A value that an option or --set gives is not searched.
    """
    if (config is None) == (resume is None):
        raise typer.BadParameter("expected either --config or --resume", param_hint="--config / --resume")
    changes = {"samples": samples, "seed": seed, "search": search, "stopping": stopping}
    known = None
    if config is not None:
        from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config

        settings = load_sweep_config(config, values, changes=changes)
    else:
        from hamcache.pipeline.config.own_recipes import RECIPES  # those of the workspace are no setting

        if values.keys() - {RECIPES} or search or stopping:
            raise typer.BadParameter(
                "a sweep goes on with its own settings; beside --resume expected only --samples, --workers, "
                "--finalize, --extract, --weights, --device, --ray-address, --workspace and --features-url",
                param_hint="--resume",
            )
        from hamcache.pipeline.studies.sweeps.results import load_sweep

        known = load_sweep(str(resume), workspace).checked()
        settings = known.settings.model_copy(update={"samples": max(samples or 0, known.settings.samples)})
    from hamcache.pipeline.studies.sweeps.sweep_config import structures

    prepare(list(structures(settings)), workspace, extracting)
    from hamcache.pipeline.cli.live_table import LiveTable
    from hamcache.pipeline.studies.sweeps.tuning import finalize as finalize_sweep  # imports Ray
    from hamcache.pipeline.studies.sweeps.tuning import run_sweep

    kept = "Trials that ended are kept; the same command goes on from there."
    with LiveTable(settings, lines_console()) as live, interruptible(kept):
        done = run_sweep(settings, workspace, sweep=known, workers=workers, ray_address=ray_address, watcher=live)
    show_sweep(done)
    written = _drawn(done)
    say(f"Sweep: {done.folder} ({', '.join(path.name for path in written)})")
    if finalize:
        from hamcache.pipeline.cli.train import show_run

        with progress_bar("training", None, "heads"):
            run = finalize_sweep(done, workspace, watcher=LiveTable(settings, lines_console()))
        pictures.draw_pictures([run])
        show_run(run)


def _drawn(sweep: Sweep) -> list[Path]:
    """Draw the pictures. What matplotlib writes for itself goes into a folder that is gone afterwards."""
    with TemporaryDirectory() as folder:
        own = os.environ.setdefault("MPLCONFIGDIR", folder) == folder
        try:
            from hamcache.pipeline.show.plots.sweeps import plot_sweep

            return plot_sweep(sweep)
        finally:
            if own:
                del os.environ["MPLCONFIGDIR"]


def show_sweep(sweep: Sweep) -> None:
    """Print the best trials, those that failed, and what the sweep took."""
    from hamcache.pipeline.studies.sweeps.results import FAILED
    from hamcache.pipeline.studies.sweeps.space import short_key, short_label

    best = [row for _, row in sweep.ranking.head(BEST).iterrows()]
    points = [sweep.point(row) for row in best]
    keys = [key for key in sweep.settings.space if any(key in point for point in points)]
    rows = [
        (sweep.objective, *(f"{row[sweep.objective]:.4f}" for row in best)),
        ("epochs", *(str(row["epochs"]) for row in best)),
        ("seconds", *(f"{row['seconds']:.1f}" for row in best)),
        *((short_key(key, keys), *(short_label(one[key]) if key in one else "" for one in points)) for key in keys),
    ]
    show_table(
        f"{sweep.id}: the best of {len(sweep.trials)} trials",
        ("", *(f"trial {row['trial']}" for row in best)),
        rows,
        caption=f"{sweep.objective} on validation; the best of many trials is always a little too good.",
    )
    for _, row in sweep.trials[sweep.trials["state"] == FAILED].iterrows():
        warn(f"trial {row['trial']} FAILED: {row['error']}")
    about = sweep.summary
    beyond = about.get("overhead") or {}
    words = f"{about['finished']} finished, {about['stopped']} stopped early, {about['failed']} failed"
    took = f"{about['seconds']:.1f} s, {about['seconds_a_trial']:.2f} s a trial" if about["seconds_a_trial"] else ""
    more = f"; beyond a trial's own training {beyond['median']:.2f} s (median)" if beyond else ""
    say(f"{about['trials']} trials: {words}; {took}{more}")
