"""The command line: `hamcache COMMAND`.

Commands live in `pipeline/commands/`, one module a subject; they import what is heavy only when they run.
Exit codes: 0 done, 1 failed with a message, 2 wrong usage.
"""

from __future__ import annotations

import faulthandler
import sys

import typer

from hamcache.pipeline.cli import (
    artefacts,
    audit,
    cache,
    data,
    demo,
    export,
    extract,
    grid,
    leakage,
    predict,
    report,
    runs,
    serve,
    sharing,
    sweep,
    train,
    zoo,
)

app = typer.Typer(
    name="hamcache",
    help="Run every frozen image backbone once, then make every classification experiment cost seconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo.demo)
app.add_typer(data.app, name="data")
data.app.command("audit")(audit.audit)
app.command()(extract.extract)
app.command()(data.download)
app.command("show-views")(extract.show_views)
app.command()(extract.backbones)
app.add_typer(cache.app, name="cache")
cache.app.command("export")(sharing.export)
cache.app.command("import")(sharing.import_)
app.command()(train.train)
app.command()(zoo.zoo)
app.command()(zoo.hybrids)
app.command()(sweep.sweep)
app.command()(grid.grid)
app.add_typer(runs.app, name="runs")
app.add_typer(artefacts.sweeps, name="sweeps")
app.add_typer(artefacts.grids, name="grids")
app.command()(runs.compare)
app.command()(report.report)
app.command()(predict.predict)
app.command()(export.export)
app.command()(serve.serve)
app.command("leakage-demo")(leakage.leakage_demo)


def our_errors() -> tuple[type[Exception], ...]:
    """The base error of each package: what these say is meant for the person at the keyboard."""
    from hamcache.cache.errors import CacheError
    from hamcache.data.errors import DataError
    from hamcache.extract.errors import ExtractError
    from hamcache.heads.errors import HeadError
    from hamcache.pipeline.errors import PipelineError

    return (CacheError, DataError, ExtractError, HeadError, PipelineError)


def main() -> None:
    """Run the command line; our own errors, and those of files and networks, become one message and exit code 1."""
    if sys.__stderr__ is not None:
        faulthandler.enable(
            sys.__stderr__
        )  # a crash in compiled code (PyTorch, Zarr, Dask) then says where it happened
    try:
        app(prog_name="hamcache")
    except Exception as error:
        if not isinstance(error, (*our_errors(), OSError)):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
