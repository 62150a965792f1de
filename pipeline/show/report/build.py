"""Build the page: choose, score, describe, draw, and write one file that needs nothing else."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from hamcache.configs.defaults import LAYOUTS, NO_LAYOUT
from hamcache.data.files import write_text
from hamcache.data.workspace import Workspace
from hamcache.pipeline.evaluate.intervals import RESAMPLES
from hamcache.pipeline.inspect.feature_map import check_method
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.runs import pictures_of
from hamcache.pipeline.show.report.board import Board, make_board
from hamcache.pipeline.show.report.choose import choose
from hamcache.pipeline.show.report.contributions import contributions
from hamcache.pipeline.show.report.cost import costs
from hamcache.pipeline.show.report.datasets import Datasets, describe
from hamcache.pipeline.show.report.evaluations import evaluation_views
from hamcache.pipeline.show.report.gallery import galleries
from hamcache.pipeline.show.report.grids import grid_views
from hamcache.pipeline.show.report.maps import Look, report_maps
from hamcache.pipeline.show.report.origins import origins
from hamcache.pipeline.show.report.render import render
from hamcache.pipeline.show.report.subgroup_views import subgroup_views
from hamcache.pipeline.show.report.sweeps import sweep_views
from hamcache.pipeline.show.web.run_view import RunView, data_uri

MOST_DETAILS = 100
"""Runs whose details are in the page, the best ones: each takes about 70 KB."""
DEFAULT_GALLERY = 4
Progress = Callable[[str, int, int | None], None]
"""Takes what is being done, how much of it is done, and how much there is, if that is known."""


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Attributes:
        path: The file.
        bytes: Its size.
        runs: Runs in its leaderboard.
        left_out: Runs that are not, and why.
        seconds: It took.
    """

    path: Path
    bytes: int
    runs: int
    left_out: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class ReportSettings:
    """The choices that a report leaves to whoever asks for it.

    Attributes:
        part: `validation`, or `test`, which shows only runs that have opened it. Validation decides the order and the
            best run in either case.
        metric: The score that runs are ordered by; None: the objective that most of them have.
        gallery: Mistakes shown of each pair of classes, 0 for no gallery (and no images in the page).
        title: Of the page.
        resamples: Resamples of the bootstraps.
        layout: Method of the map of the features (see `inspect.feature_map`), or `none`.
    """

    part: str = "validation"
    metric: str | None = None
    gallery: int = DEFAULT_GALLERY
    title: str | None = None
    resamples: int = RESAMPLES
    layout: str = LAYOUTS[0]


PLAIN = ReportSettings()


def build_report(
    names: Sequence[str],
    workspace: Workspace,
    out: Path | None = None,
    settings: ReportSettings = PLAIN,
    on_progress: Progress | None = None,
) -> Report:
    """Write one HTML page about some runs, sweeps and grids; it opens from disk and loads nothing from anywhere.

    Args:
        names: Ids of runs, sweeps and grids, or beginnings of ids; none: everything in the workspace.
        workspace: Holds `runs/`, `sweeps/`, `grids/` and the features.
        out: The page; None: `report.html` in the workspace.
        settings: Choices about what is shown.
        on_progress: Told how far it is.

    Raises:
        ArtefactNotFoundError: A name is that of nothing, or the workspace has no runs.
        RunError: None of the runs can be shown, for example because none has opened the test set.
        MetricError: Nobody has defined the metric.
        MapError, MissingExtraError: There is no such method of making maps, or it is not installed.
    """
    started = perf_counter()
    if settings.layout != NO_LAYOUT:
        check_method(settings.layout)
    tell = on_progress or (lambda what, done, total: None)
    chosen = choose(names, workspace)
    part, resamples = settings.part, settings.resamples
    metric = settings.metric or _objective(chosen.runs)
    board = make_board(
        chosen.runs, metric, part, resamples=resamples, on_run=lambda n: tell("scoring", n, len(chosen.runs))
    )
    datasets = Datasets(workspace)
    detailed = board.rows[:MOST_DETAILS]
    views = {}
    for run, found in pictures_of([row.run for row in detailed]):
        absent = str(found) if isinstance(found, Exception) else ""
        pictures = {} if isinstance(found, Exception) else {name: data_uri(svg) for name, svg in found.items()}
        views[run.id] = RunView(run, part, pictures, absent)
        tell("drawing", len(views), len(detailed))
    shown = None
    if settings.gallery > 0:
        shown = galleries(
            board,
            settings.gallery,
            datasets,
            on_run=lambda n: tell("looking at mistakes", n, None),
        )
    maps = None
    if settings.layout != NO_LAYOUT:
        maps = report_maps(board, datasets, Look(settings.layout, thumbnails=settings.gallery > 0), tell)
    page = render(
        board=board,
        title=settings.title or _title(board),
        part=part,
        resamples=resamples,
        left_out=chosen.left_out | board.left_out,
        detailed=detailed,
        views=views,
        contributions=contributions(board, resamples),
        costs=costs(board, chosen.sweeps),
        sweeps=sweep_views(chosen.sweeps, board),
        grids=grid_views(chosen.grids, board),
        evaluations=evaluation_views(board, workspace),
        subgroups=subgroup_views(board, workspace, resamples),
        gallery=shown,
        maps=maps,
        data=describe(board, datasets),
        names={key: name for cohort in board.cohorts for key, name in cohort.best.run.class_names.items()},
        origins=origins(board),
        command=_command(names, replace(settings, metric=metric)),
        made=datetime.now().strftime("%-d %B %Y, %H:%M"),
    )
    path = out if out is not None else workspace.path / "report.html"
    write_text(path, page)
    return Report(
        path, path.stat().st_size, len(board.rows), chosen.left_out | board.left_out, perf_counter() - started
    )


def _objective(runs: Sequence[Run]) -> str:
    """The objective that most runs have."""
    objectives: list[str] = []
    for run in runs:
        try:
            objectives.append(run.config.objective)
        except (OSError, ValueError):  # it is left out later, with its reason
            continue
    return Counter(objectives).most_common(1)[0][0] if objectives else "mcc"


def _title(board: Board) -> str:
    names = list(dict.fromkeys(cohort.dataset for cohort in board.cohorts))
    return f"What was learned on {' and '.join(names[:3])}" + (" and more" if len(names) > 3 else "")


def _command(names: Sequence[str], settings: ReportSettings) -> str:
    options: dict[str, Any] = {
        "--part": settings.part,
        "--metric": settings.metric,
        "--gallery": settings.gallery,
        "--title": settings.title,
        "--layout": settings.layout if settings.layout != LAYOUTS[0] else None,
    }
    words = ["hamcache", "report", *names]
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return shlex.join(words)
