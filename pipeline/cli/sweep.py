"""`hamcache sweep`: search the open values of an experiment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamcache.pipeline.cli import options

if TYPE_CHECKING:
    from hamcache.data.workspace import Workspace
    from hamcache.pipeline.studies.sweeps.results import Sweep
    from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig

BEST = 5
SEARCHES, SCHEDULERS = ("optuna", "random", "grid"), ("asha", "none")


def sweep(
    config: Annotated[
        str, typer.Option(help="A YAML file, or the name of a packaged sweep (mlp, cnn, resnet, densenet, hybrid).")
    ] = "",
    resume: Annotated[
        str, typer.Option(help="Go on with this sweep: its folder, its id or the beginning of it.", metavar="DIR")
    ] = "",
    samples: Annotated[int | None, typer.Option(min=1, help="Trials in all (default: the configuration's).")] = None,
    objective: Annotated[
        str, typer.Option(help="Metric on validation: mcc, f1 (weighted_f1), balanced_accuracy, nll, ...")
    ] = "",
    search: Annotated[str, typer.Option(help="optuna (TPE), random, or grid: all points.")] = "",
    scheduler: Annotated[str, typer.Option(help="asha: stop bad trials early; none: train all to their end.")] = "",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time (default: one a core, as far as memory reaches).")
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", help="KEY=VALUE of the experiment; such a key is not searched.", metavar="KEY=VALUE"),
    ] = [],  # noqa: B006
    dataset: Annotated[str, typer.Option(help="As in `extract` (default: the configuration's).")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the search, and of the experiments in it.")] = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="First extract the features that the cache lacks.")
    ] = False,
    finalize: Annotated[
        bool, typer.Option("--finalize", help="Train the best again as a run, and score it on the test set, once.")
    ] = False,
    ray_address: Annotated[
        str, typer.Option(help="An existing Ray cluster (HOST:PORT, or auto).", metavar="ADDRESS")
    ] = "",
    column: options.Columns = [],  # noqa: B006
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Search an experiment's open values with many short trials; what was killed goes on where it was."""
    place = options.place(workspace, features_url)
    if bool(config) == bool(resume):
        raise typer.BadParameter("expected either --config or --resume", param_hint="--config / --resume")
    changes: dict[str, Any] = {"samples": samples, "seed": seed}
    if search:
        changes["search"] = options.one_of(search, SEARCHES, "--search")
    if scheduler:
        changes["scheduler"] = options.one_of(scheduler, SCHEDULERS, "--scheduler")
    given = [*set_, *column, objective, search, scheduler, dataset, *([seed] if seed is not None else [])]
    if resume and any(value != "" for value in given):
        raise typer.BadParameter(
            "a sweep goes on with its own settings; beside --resume expected only --samples, --jobs, --finalize, "
            "--extract, --ray-address, --workspace and --features-url",
            param_hint="--resume",
        )
    overrides = [*options.overrides(dataset, column, seed), *set_]
    if objective:
        overrides.append(f"objective={json.dumps(objective)}")
    settings, known = _settings(config, resume, overrides, changes, place)
    _run(settings, known, place, jobs, ray_address, extract, finalize)


def _settings(
    config: str, resume: str, overrides: list[str], changes: dict[str, Any], workspace: Workspace
) -> tuple[SweepConfig, Sweep | None]:
    from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config

    if config:
        return load_sweep_config(config, overrides, changes=changes), None
    from hamcache.pipeline.studies.sweeps.results import load_sweep

    known = load_sweep(resume, workspace)
    more = max(changes["samples"] or 0, known.settings.samples)
    return known.settings.model_copy(update={"samples": more}), known


def _run(
    settings: SweepConfig,
    known: Sweep | None,
    workspace: Workspace,
    jobs: int | None,
    ray_address: str,
    extract: bool,
    finalize: bool,
) -> None:
    from hamcache.pipeline.cli.console import console
    from hamcache.pipeline.cli.live_table import LiveTable
    from hamcache.pipeline.studies.sweeps.sweep_config import structures
    from hamcache.pipeline.studies.sweeps.tuning import finalize as finalize_sweep
    from hamcache.pipeline.studies.sweeps.tuning import run_sweep

    options.announce_drawing(str(settings.experiment.get("dataset", "synthetic")), workspace)
    if extract:
        from hamcache.pipeline.cli.extraction import extract_lacking
        from hamcache.pipeline.studies.opened import joined

        for experiment in joined(list(structures(settings))):
            extract_lacking(experiment, workspace)
    with LiveTable(settings, console) as live:
        try:
            done = run_sweep(
                settings,
                workspace,
                sweep=known,
                workers=jobs,
                ray_address=ray_address or None,
                watcher=live,
            )
        except KeyboardInterrupt:
            console.print("Interrupted. Trials that ended are kept; the same command goes on from there.")
            raise typer.Exit(1) from None
    show_sweep(done)
    written = _drawn(done)
    console.print(f"Sweep: {done.folder} ({', '.join(path.name for path in written)})", highlight=False)
    if finalize:
        from hamcache.pipeline.cli.pictures import draw_pictures
        from hamcache.pipeline.cli.train import show_run

        run = finalize_sweep(done, workspace, watcher=LiveTable(settings, console))
        draw_pictures([run])
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
    from hamcache.pipeline.cli.console import console, errors, show_table
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
        errors.print(f"trial {row['trial']} FAILED: {row['error']}", highlight=False, markup=False)
    about = sweep.summary
    beyond = about.get("overhead") or {}
    words = f"{about['finished']} finished, {about['stopped']} stopped early, {about['failed']} failed"
    took = f"{about['seconds']:.1f} s, {about['seconds_a_trial']:.2f} s a trial" if about["seconds_a_trial"] else ""
    more = f"; beyond a trial's own training {beyond['median']:.2f} s (median)" if beyond else ""
    console.print(f"{about['trials']} trials: {words}; {took}{more}", highlight=False)
