"""The command line: `hamcache COMMAND`.

Each subject has a module beside this one; commands import what is heavy only when they run.
Exit codes: 0 done, 1 failed with a message, 2 wrong usage, 70 a fault of ours, 130 interrupted.
"""

from __future__ import annotations

import faulthandler
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hamcache.pipeline.cli import (
    artefacts,
    audit,
    cache,
    curve,
    data,
    demo,
    doctor,
    evaluate,
    export,
    extract,
    grid,
    leakage,
    maps,
    predict,
    report,
    runs,
    serve,
    sharing,
    study,
    suggest,
    sweep,
    train,
    zoo,
)
from hamcache.pipeline.cli.bundles import Commands
from hamcache.pipeline.cli.console import KEPT, interruptible
from hamcache.pipeline.cli.endings import end
from hamcache.pipeline.cli.renamed_options import name_successor

ORDER = (
    *("demo", "doctor", "download", "data", "backbones", "show-views", "extract", "cache"),
    *("train", "runs", "compare", "zoo", "hybrids", "curve", "grid", "grids", "sweep", "sweeps", "study"),
    *(
        "report",
        "map",
        "predict",
        "evaluate",
        "evaluations",
        "suggest",
        "suggest-demo",
        "serve",
        "export",
        "leakage-demo",
    ),
)
"""Commands in the order in which a newcomer needs them."""


class Group(TyperGroup):
    """The group of all commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help."""
        return sorted(super().list_commands(ctx), key=[*ORDER, *super().list_commands(ctx)].index)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an error about a renamed option says its name of today."""
        try:
            with interruptible(KEPT):
                return super().invoke(ctx)
        except Exception as error:
            name_successor(error)
            raise


app = Commands(
    name="hamcache",
    cls=Group,
    help="Run every frozen image backbone once, then make every classification experiment cost seconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from hamcache import __version__

        typer.echo(f"hamcache {__version__}")
        raise typer.Exit


@app.callback()
def _hamcache(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version, and end.")
    ] = False,
) -> None:
    """Run every frozen image backbone once, then make every classification experiment cost seconds."""


app.command(tables=True)(demo.demo)
app.command(tables=True)(doctor.doctor)
app.command()(data.download)
app.add_typer(data.app, name="data")
data.app.command("audit", tables=True)(audit.audit)
app.command(tables=True)(extract.backbones)
app.command("show-views")(extract.show_views)
app.command(tables=True)(extract.extract)
app.add_typer(cache.app, name="cache")
cache.app.command("export")(sharing.export)
cache.app.command("import", tables=True)(sharing.import_)
app.command(tables=True)(train.train)
app.add_typer(runs.app, name="runs")
app.command(tables=True)(runs.compare)
app.command(tables=True)(zoo.zoo)
app.command(tables=True)(zoo.hybrids)
app.command(tables=True)(curve.curve)
app.command(tables=True)(grid.grid)
app.add_typer(artefacts.grids, name="grids")
app.command(tables=True)(sweep.sweep)
app.add_typer(artefacts.sweeps, name="sweeps")
app.command(tables=True)(study.study)
app.command()(report.report)
app.command("map")(maps.map_)
app.command()(predict.predict)
app.command()(evaluate.evaluate)
app.add_typer(artefacts.evaluations, name="evaluations")
app.command(tables=True)(suggest.suggest)
app.command("suggest-demo", tables=True)(suggest.suggest_demo)
app.command()(serve.serve)
app.command()(export.export)
app.command("leakage-demo", tables=True)(leakage.leakage_demo)


def main() -> None:
    """Run the command line; see `endings` for how it ends."""
    if sys.__stderr__ is not None:
        # A crash in compiled code (PyTorch, Zarr, Dask) then says where it happened.
        faulthandler.enable(sys.__stderr__)
    end(lambda: app(prog_name="hamcache", standalone_mode=False))


if __name__ == "__main__":
    main()
