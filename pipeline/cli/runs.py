"""`hamcache runs` and `hamcache compare`: what was run, and how runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import OBJECTIVE, RESAMPLES, SCORES
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.artefacts import add_rm, add_verify, runs_kind
from hamcache.pipeline.cli.bundles import Commands
from hamcache.pipeline.cli.console import progress_bar, say, show_frame, show_table, warn

if TYPE_CHECKING:
    from hamcache.pipeline.evaluate.intervals import Interval
    from hamcache.pipeline.runs.records import Run

app = Commands(
    help="List runs; `show RUN` for one, `plot` to draw, `export` for other tools, `verify` to check, `rm` to remove."
)
add_rm(app, "runs", runs_kind)
add_verify(app, "runs", runs_kind)
TOOLS = ("csv", "json", "mlflow")
SHOWN = tuple(name for name in SCORES if name != "macro_f1")


@app.callback(invoke_without_command=True, tables=True)
def runs(
    workspace: bundles.PlainWorkspace,
    context: typer.Context,
    sort: Annotated[str, typer.Option(help="A metric, or a column of the table.")] = OBJECTIVE,
    part: options.Part = None,
    match: Annotated[str | None, typer.Option("--filter", help="Only runs whose row contains this text.")] = None,
    limit: options.Limit = 50,
    out: Annotated[Path | None, options.out("Write the whole table, every metric, to this file.")] = None,
) -> None:
    """List runs: heads on features and nets from images in one table, with scores on validation without --part."""
    if context.invoked_subcommand:
        return
    from hamcache.data.files import write_csv
    from hamcache.data.nearest import unknown_name
    from hamcache.heads.errors import MetricError
    from hamcache.heads.metrics import METRICS
    from hamcache.pipeline.runs.records import list_runs

    table = list_runs(workspace)
    if table.empty:
        say(f"No runs in {workspace}. Make one: `hamcache train --features tf_efficientnet_lite0`.")
        return
    if match:
        text = table[["run", "head", "features", "dataset", "policy"]].astype(str).agg(" ".join, axis=1)
        table = table[text.str.contains(match, case=False, regex=False)]
    part = part or "validation"
    column = sort if sort in table.columns else f"{part}_{sort}"
    if column not in table.columns:
        choices = [*METRICS, *(c for c in table.columns if "_" not in c)]
        raise MetricError(f"--sort: {unknown_name('column', sort, choices)}")
    best_first = sort in METRICS and METRICS[sort].higher_is_better
    table = table.sort_values(column, ascending=not best_first, na_position="last")
    if out:
        write_csv(out, table)
    # The features stand in the run's id, and in full in the CSV.
    columns = ["run", "head", "dataset", "seed", *(f"{part}_{name}" for name in SHOWN), "seconds"]
    if column not in columns:
        columns.append(column)
    shown = table.reindex(columns=columns).head(limit)
    show_frame(f"{len(table):,} runs, {part}", shown.rename(columns=lambda column: column.removeprefix(f"{part}_")))
    if out:
        say(f"Wrote {out}")


@app.command(tables=True)
def show(
    workspace: bundles.PlainWorkspace,
    run: Annotated[str, typer.Argument(help="A run's id, or the beginning of one.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the image table whose groups are scored (default: age, sex, site, dx_type).",
        ),
    ] = None,
    part: options.Part = None,
) -> None:
    """Show one run: every score, those of subgroups, where it comes from, and its files.

    Subgroups are scored on validation without --part, each with its own bootstrap over lesions.
    """
    from hamcache.pipeline.evaluate.subgroups import run_subgroups
    from hamcache.pipeline.runs.records import load_run

    found = load_run(run, workspace).checked()
    parts = list(found.metrics)
    chance = found.baseline("validation")
    names = list(dict.fromkeys(name for values in found.metrics.values() for name in values))
    nan = float("nan")
    subgroups = run_subgroups(found, workspace, part or "validation", by)
    rows = [(n, *(found.metrics[p].get(n, nan) for p in parts), chance.get(n, nan)) for n in names]
    show_table(found.id, ("metric", *parts, "majority class (validation)"), rows)
    if isinstance(subgroups, str):
        say(f"No subgroups: {subgroups}")
    elif subgroups:
        scored = list(subgroups[0].scores)
        show_table(
            f"Subgroups on {part or 'validation'}",
            ("column", "group", "images", "lesions", *scored, "note"),
            [(g.column, g.name, g.images, g.lesions, *map(_bound, g.scores.values()), g.note) for g in subgroups],
            caption="[95 % interval over the group's lesions]; of so many groups, one interval in twenty misses its "
            "value; -: too few classes for this score",
        )
    for name, value in found.provenance.items():
        if name not in ("versions", "sha256", "seal"):
            say(f"{name}: {value}")
    say("files: " + ", ".join(sorted(path.name for path in found.folder.iterdir())))


def _bound(interval: Interval | None) -> str:
    return "-" if interval is None else str(interval)


@app.command()
def plot(
    workspace: bundles.PlainWorkspace,
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs: ids, or beginnings of them (default: all that lack plots).")
    ] = None,
) -> None:
    """Draw the pictures of runs: curves, confusion, ROC, precision and recall, reliability, scores of each class."""
    from hamcache.pipeline.runs.records import all_runs, load_run, plots_folder

    chosen = [load_run(run, workspace) for run in runs or []]
    from hamcache.pipeline.show.plots.runs import lacks_plots, plot_run

    if not runs:
        chosen = [run for run in all_runs(workspace) if lacks_plots(run)]
    failed = 0
    with progress_bar("drawing", len(chosen), "runs") as advance_to:
        for number, run in enumerate(chosen, start=1):
            try:
                pictures = plot_run(run)
                say(f"{plots_folder(run.folder)}: {', '.join(p.stem for p in pictures)}")
            except Exception as error:  # a run with a damaged file costs no other run its pictures
                failed += 1
                warn(f"{run.id}: FAILED: {type(error).__name__}: {error}")
            advance_to(number, None)
    say(f"Drew {len(chosen) - failed} of {len(chosen)} runs." if chosen else "Every run has its plots.")
    if failed:
        raise typer.Exit(1)


@app.command()
def export(
    workspace: bundles.PlainWorkspace,
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs: ids, or beginnings of them (default: all).", metavar="[RUN ...]")
    ] = None,
    to: Annotated[
        str, options.word(TOOLS, "csv (a row a run), json (every word), or mlflow (pip install 'hamcache[mlflow]').")
    ] = TOOLS[0],
    out: Annotated[
        str | None,
        options.out(
            "A file; for mlflow a folder, or an address such as http://127.0.0.1:5000 (default: in WORKSPACE/exports)."
        ),
    ] = None,
    force: options.Force = False,
) -> None:
    """Write runs for other programs: configuration, every score, provenance; for MLflow epochs, pictures and files too.

    Runs that an MLflow store has already are found there, not written again.
    """
    from hamcache.pipeline.runs.records import all_runs, load_run

    found = [load_run(run, workspace) for run in runs] if runs else all_runs(workspace)
    if not found:
        say(f"No runs in {workspace}. Make one: `hamcache train --features tf_efficientnet_lite0`.")
        return
    whole = [run.checked() for run in found]
    if to == "mlflow":
        _to_mlflow(whole, out or str(workspace / "exports" / "mlflow"), force)
        return
    from hamcache.data.files import write_csv, write_json
    from hamcache.pipeline.use.share.run_tables import runs_record, runs_table

    target = Path(out) if out else workspace / "exports" / f"runs.{to}"
    if to == "csv":
        write_csv(target, runs_table(whole))
    else:
        write_json(target, runs_record(whole))
    say(f"Wrote {target}: {len(whole):,} {'run' if len(whole) == 1 else 'runs'}")


def _to_mlflow(runs: list[Run], out: str, force: bool) -> None:
    from hamcache.pipeline.use.share.mlflow_runs import MlflowStore, client_of, export_runs

    store = MlflowStore.at(out)
    client_of(store)  # told before the bar
    with progress_bar("exporting", len(runs), "runs") as advance_to:
        written = export_runs(runs, store, force=force, on_run=lambda done: advance_to(done, None))
    say(f"Wrote {written:,} of {len(runs):,} runs to {store.uri}; the others were there.")
    say(f"Look at them: `mlflow ui --backend-store-uri {store.uri}`")


def compare(
    workspace: bundles.PlainWorkspace,
    runs: Annotated[list[str], typer.Argument(help="Two or more runs: ids, or beginnings of them.")],
    metric: options.Metric = None,
    part: options.Part = None,
    reference: Annotated[str | None, typer.Option(help="Compare the others with this run only.")] = None,
    resamples: Annotated[int, typer.Option(min=100, max=1_000_000, help="Bootstrap resamples of lesions.")] = RESAMPLES,
    out: Annotated[Path | None, options.out("Write the pairs to this file.")] = None,
) -> None:
    """Compare runs on the same images: paired bootstrap over lesions, Holm's correction for many pairs.

    By mcc without --metric; without --part on the test set if all runs have opened it, else on validation.
    """
    from hamcache.data.files import write_csv
    from hamcache.pipeline.evaluate.compare import compare_runs
    from hamcache.pipeline.runs.records import load_run

    loaded = [load_run(run, workspace) for run in runs]
    against = load_run(reference, workspace).id if reference is not None else None
    found = compare_runs(loaded, metric or OBJECTIVE, part, reference=against, resamples=resamples)
    for title, frame in (("Scores", found.scores), ("Differences", found.pairs)):
        show_frame(f"{title}: {found.metric} on {found.part}", frame)
    say(f"{found.images:,} images of {found.groups:,} lesions; intervals: 95 %, {resamples:,} resamples of lesions.")
    if out:
        write_csv(out, found.pairs)
        say(f"Wrote {out}")
