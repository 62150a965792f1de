"""`hamcache report`: one page about any runs, sweeps and grids."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hamcache.configs.defaults import LAYOUTS, NO_LAYOUT
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import human_bytes, progress_bar, say, warn

SAID = 5
"""Runs left out that are named on the console."""


def report(
    workspace: bundles.FullWorkspace,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|SWEEP|GRID ...]", help="Ids, or beginnings of them (default: all of the workspace)."
        ),
    ] = None,
    out: Annotated[Path | None, options.out("The page (default: WORKSPACE/report.html).")] = None,
    part: options.Part = None,
    metric: options.Metric = None,
    gallery: Annotated[
        int, typer.Option(min=0, max=50, help="Mistakes shown of each pair of classes; 0: no images in the page.")
    ] = 4,
    layout: Annotated[
        str,
        options.word(
            (*LAYOUTS, NO_LAYOUT),
            "Map of the features: tsne, pca, umap (pip install 'hamcache[umap]') or none.",
            "--layout",
        ),
    ] = LAYOUTS[0],
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
) -> None:
    """Write one self-contained HTML page: leaderboard, plots, hybrids, cost, sweeps, grids, mistakes, map, provenance.

    Scores are those of validation without --part (on test: runs that have opened it), and runs are ordered by their
    objective without --metric.
    """
    if part == "train":
        raise typer.BadParameter("expected validation or test, got 'train'", param_hint="--part")
    if names:
        from hamcache.pipeline.show.report.choose import choose

        choose(names, workspace)  # a wrong name is told before anything heavy is loaded
    from hamcache.pipeline.inspect.feature_map import check_method

    if layout != NO_LAYOUT:
        check_method(layout)
    from hamcache.pipeline.show.report.build import ReportSettings, build_report

    with progress_bar("reading", None, "runs") as advance_to:
        made = build_report(
            names or (),
            workspace,
            out,
            ReportSettings(part or "validation", metric, gallery, title, layout=layout),
            on_progress=lambda what, done, total: advance_to(done, total),
        )
    for name, why in list(made.left_out.items())[:SAID]:
        warn(f"Left out: {name}: {why}")
    if len(made.left_out) > SAID:
        warn(f"... and {len(made.left_out) - SAID:,} more, listed in the page.")
    say(
        f"Wrote {made.path}: {made.runs:,} {'run' if made.runs == 1 else 'runs'}, {human_bytes(made.bytes)}, "
        f"{made.seconds:.1f} s. Open it in a browser; it needs no network."
    )
