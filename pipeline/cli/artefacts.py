"""`hamcache sweeps`, `hamcache grids`, and `rm` for these and for runs: the same words for every kind of artefact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.bundles import Commands
from hamcache.pipeline.cli.console import confirm, progress_bar, say, show_table, warn

if TYPE_CHECKING:
    from hamcache.pipeline.evaluate.evaluations import Evaluation
    from hamcache.pipeline.runs.artefacts import Kind
    from hamcache.pipeline.studies.grid.matrix import Grid
    from hamcache.pipeline.studies.sweeps.results import Sweep

KindOf = Callable[[], "Kind[Any]"]
"""Imports a kind of artefact when a command runs."""


def runs_kind() -> Kind[Any]:
    """Runs."""
    from hamcache.pipeline.runs.records import RUNS

    return RUNS


def sweeps_kind() -> Kind[Any]:
    """Sweeps."""
    from hamcache.pipeline.studies.sweeps.results import SWEEPS

    return SWEEPS


def grids_kind() -> Kind[Any]:
    """Grids."""
    from hamcache.pipeline.studies.grid.matrix import GRIDS

    return GRIDS


def evaluations_kind() -> Kind[Any]:
    """Evaluations."""
    from hamcache.pipeline.evaluate.evaluations import EVALUATIONS

    return EVALUATIONS


def add_rm(app: Commands, noun: str, kind_of: KindOf) -> None:
    """Give an app the command `rm`."""

    @app.command(help=f"Remove {noun}, after asking.")
    def rm(
        workspace: bundles.PlainWorkspace,
        names: Annotated[list[str], typer.Argument(help="Ids, beginnings of them, or folders.", metavar="ID...")],
        yes: options.Yes = False,
    ) -> None:
        from hamcache.pipeline.runs.artefacts import remove

        kind = kind_of()
        folders = list(dict.fromkeys(kind.find(name, workspace) for name in names))
        for folder in folders:
            say(str(folder))
        confirm(f"Remove {_counted(len(folders), noun)}?", yes)
        for folder in folders:
            remove(folder)
        say(f"Removed {_counted(len(folders), noun)}.")


def add_verify(app: Commands, noun: str, kind_of: KindOf) -> None:
    """Give an app the command `verify`."""

    @app.command(help=f"Read every file of {noun} and check it. Exits with 1 when anything is wrong.")
    def verify(
        workspace: bundles.PlainWorkspace,
        names: Annotated[
            list[str] | None, typer.Argument(help="Ids, beginnings of them, or folders (default: all).", metavar="ID")
        ] = None,
    ) -> None:
        from hamcache.data.errors import some_of
        from hamcache.pipeline.errors import DamagedError

        kind = kind_of()
        folders = [kind.find(name, workspace) for name in names] if names else kind.folders(workspace)
        rows: list[tuple[str, str | None, str | None]] = []
        unsealed: list[str] = []
        with progress_bar("verifying", len(folders), noun) as advance_to:
            for number, folder in enumerate(folders, start=1):
                try:
                    artefact = kind.read(folder)
                except DamagedError as error:
                    flaws = [error]
                else:
                    flaws = artefact.flaws()
                    if artefact.files.digests is None:
                        unsealed.append(folder.name)
                rows += [(folder.name, flaw.file, flaw.what) for flaw in flaws]
                advance_to(number, None)
        if unsealed:
            say(f"No checksums, so only what can be seen without them was checked: {some_of(unsealed)}.")
        if rows:
            show_table("Wrong", (noun.removesuffix("s"), "file", "what"), rows)
            say(f"Damaged files are never used. `hamcache {noun} rm` removes what they are of; then make it anew.")
            raise typer.Exit(1)
        say(f"{_counted(len(folders), noun)}, nothing wrong.")


def listing(
    noun: str,
    kind_of: KindOf,
    columns: Sequence[str],
    row: Callable[[Any], tuple[Any, ...]],
    making: str | None = None,
) -> Commands:
    """An app that lists one kind of artefact, latest first, and has `rm` and `verify`.

    `making` is the command that makes one, where it is not named as they are.
    """
    app = Commands(help=f"List {noun}; `{noun} rm` to remove some, `{noun} verify` to check their files.")

    @app.callback(invoke_without_command=True)
    def show(workspace: bundles.PlainWorkspace, context: typer.Context) -> None:
        if context.invoked_subcommand:
            return
        from hamcache.pipeline.errors import DamagedError

        rows = []
        for artefact in reversed(kind_of().all(workspace)):
            try:
                rows.append(row(artefact))
            except DamagedError as error:
                warn(error)
        if rows:
            show_table(_counted(len(rows), noun), columns, rows)
        else:
            command = making or f"hamcache {noun.removesuffix('s')}"
            say(f"No {noun} in {workspace}. Make one: `{command}`.")

    add_rm(app, noun, kind_of)
    add_verify(app, noun, kind_of)
    return app


def _counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun.removesuffix('s') if number == 1 else noun}"


def _sweep_row(sweep: Sweep) -> tuple[Any, ...]:
    ranking = sweep.ranking
    best = f"{ranking[sweep.objective].iloc[0]:.3f}" if len(ranking) else "-"
    trials = f"{len(sweep.trials)} of {sweep.settings.samples}"
    state = str(sweep.summary.get("state", "no summary.json" if len(sweep.trials) else "not begun"))
    return sweep.id, state, trials, sweep.objective, best, sweep.final_run or "-"


def _grid_row(grid: Grid) -> tuple[Any, ...]:
    size = f"{len(grid.backbones)} x {len(grid.augmentations)}"
    score, cell = "-", "-"
    if grid.best is not None:
        cell = ", ".join(grid.best)
        score = f"{grid.matrix().stack()[grid.best]:.3f}"
    return grid.id, grid.head, str(grid.settings.get("dataset", "-")), size, grid.metric, score, cell


def _evaluation_row(evaluation: Evaluation) -> tuple[Any, ...]:
    record = evaluation.record
    scores = (record[of].get(record["objective"]) for of in ("scores", "own"))
    cells = ("-" if score is None else f"{score['value']:.3f}" for score in scores)
    return evaluation.id, record["run"], record["dataset"], record["images"], record["objective"], *cells


sweeps = listing("sweeps", sweeps_kind, ("sweep", "state", "trials", "metric", "best", "final run"), _sweep_row)
grids = listing("grids", grids_kind, ("grid", "head", "data set", "size", "metric", "score", "best cell"), _grid_row)
evaluations = listing(
    "evaluations",
    evaluations_kind,
    ("evaluation", "run", "data set", "images", "metric", "score", "own"),
    _evaluation_row,
    making="hamcache evaluate RUN --dataset OTHER",
)
