"""`hamcache map`: a page with a map of the features of a data set."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hamcache.configs.defaults import LAYOUTS
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import human_bytes, progress_bar, say


def map_(
    settings: bundles.Mapped,
    workspace: bundles.FullWorkspace,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN ...]",
            help="Runs of one data set, whose mistakes are shown: ids, or beginnings of them. The first gives the data "
            "set and, without --features, the features.",
        ),
    ] = None,
    layout: Annotated[
        str, options.word(LAYOUTS, "tsne, pca (its first two components) or umap (pip install 'hamcache[umap]').")
    ] = LAYOUTS[0],
    part: options.Part = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Put small pictures of the images into the page.")
    ] = True,
    out: Annotated[Path | None, options.out("The page (default: WORKSPACE/map.html).")] = None,
) -> None:
    """Write one HTML page with a map of the features: an image a point, near others that look alike to the backbone.

    Coloured by class, by part and by the mistakes of runs; hovering shows the image, and lesions can be joined. Of one
    view of each image. The same map is found again, not computed again. `hamcache report` has such a map, too.
    """
    from hamcache.pipeline.runs.records import load_run

    named = [load_run(run, workspace) for run in runs or ()]
    from hamcache.pipeline.inspect.feature_map import check_method

    check_method(layout)
    from hamcache.data.files import write_text
    from hamcache.pipeline.config.schema import load_config
    from hamcache.pipeline.show.report.maps import Look, map_entry, subject_of
    from hamcache.pipeline.show.report.render import render_map

    look = Look(layout, settings.get("seed", 0), thumbnails)
    config = load_config(None, settings, base=subject_of(named))
    with progress_bar("mapping", None, "images") as advance_to:
        entry = map_entry(
            config,
            None,
            workspace,
            look,
            [(run.id, run) for run in named],
            part or "validation",
            lambda what, done, total: advance_to(done, total),
        )
    target = out or workspace / "map.html"
    write_text(target, render_map(entry, f"Map of {entry['name']}", datetime.now().strftime("%-d %B %Y, %H:%M")))
    say(f"{entry['about']}{' (found, not computed again)' if entry['reused'] else ''}")
    say(f"Wrote {target}: {human_bytes(target.stat().st_size)}. Open it in a browser; it needs no network.")
