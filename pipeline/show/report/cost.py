"""Cost against quality: the seconds of fitting beside the score, and the runs that no other beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from hamcache.heads.metrics import Metric
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.report.charts import Chart, linear, logarithmic
from hamcache.pipeline.show.web.labels import label
from hamcache.pipeline.show.web.markup import score, seconds

if TYPE_CHECKING:
    from hamcache.pipeline.studies.sweeps.results import Sweep

LEAST_SECONDS = 1e-3
"""Resolution of a run's clock; a fit that took less stands here on a logarithmic axis."""
COLOURS = 8


@dataclass(frozen=True, eq=False)
class Search:
    """The cost of a whole sweep, and the run it ended with."""

    sweep: str
    trials: int
    seconds: float
    row: Row


@dataclass(frozen=True, eq=False)
class Cost:
    """One chart.

    Attributes:
        name: The data set and split policy.
        chart: The chart.
        front: Runs on the Pareto front, the quickest first.
        searches: Sweeps in the chart.
    """

    name: str
    chart: Markup
    front: list[Row]
    searches: list[Search]


def costs(board: Board, sweeps: Sequence["Sweep"]) -> list[Cost]:
    """One chart for each data set and split policy, that with the most runs first."""
    searches = [found for sweep in sweeps if (found := _search(sweep, board)) is not None]
    heads = list(dict.fromkeys(str(row.about["head"]) for row in board.rows))
    groups: dict[str, list[Row]] = {}
    for row in board.rows:
        if np.isfinite(row.seconds):
            groups.setdefault(f"{row.about['dataset']}, {row.about['policy']}", []).append(row)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [_cost(name, rows, board, heads, [s for s in searches if s.row in rows]) for name, rows in ordered]


def pareto(rows: Sequence[Row], metric: Metric) -> list[Row]:
    """The runs that no other equals or beats in both seconds and score, the quickest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.seconds, -metric.gain(row.value), row.run.id)):
        if not front or metric.better(row.value, front[-1].value):
            front.append(row)
    return front


def _cost(name: str, rows: list[Row], board: Board, heads: list[str], searches: list[Search]) -> Cost:
    metric = board.metric.name
    front = pareto(rows, board.metric)
    x = logarithmic([*(_shown(row.seconds) for row in rows), *(s.seconds for s in searches)])
    y = linear([end for row in rows for end in (row.value, row.low, row.high)])
    chart = Chart(
        x,
        y,
        f"seconds of fitting{', or of a whole search' if searches else ''} (logarithmic)",
        f"{label(metric)} on {board.part}",
        f"Seconds of fitting against {label(metric)} of {len(rows)} runs on {name}",
    )
    steps = [(_shown(row.seconds), row.value) for row in front]
    chart.steps([*steps, (x.high, steps[-1][1])], "front", "Pareto front")
    for row in rows:
        at = _shown(row.seconds)
        chart.segment((at, row.low), (at, row.high), "whisker", data_run=row.anchor)
    for search in searches:
        start, end = (_shown(search.row.seconds), search.row.value), (search.seconds, search.row.value)
        chart.segment(start, end, "search")
    for row in reversed(rows):  # the best lie on top
        place = front.index(row) + 1 if row in front else None
        number = heads.index(str(row.about["head"]))
        chart.dot(
            (_shown(row.seconds), row.value),
            f"c{number % COLOURS}{' ring' if number // COLOURS % 2 else ''}{' on-front' if place else ''}",
            str(place) if place else "",
            href=f"#{row.anchor}",
            data_run=row.anchor,
            data_tip=f"{row.name}\n{label(metric)} {score(row.value)} [{score(row.low)}, {score(row.high)}]\n"
            f"{seconds(row.seconds)} to fit" + ("\non the Pareto front" if place else ""),
            aria_label=f"{row.name}: {score(row.value)}, {seconds(row.seconds)}",
        )
    for search in searches:
        chart.dot(
            (search.seconds, search.row.value),
            "whole",
            href=f"#{search.row.anchor}",
            data_tip=f"sweep {search.sweep}\n{search.trials} trials, {seconds(search.seconds)} in all\n"
            f"ended with {label(metric)} {score(search.row.value)}",
            aria_label=f"sweep {search.sweep}: {seconds(search.seconds)} for {search.trials} trials",
        )
    for head in dict.fromkeys(str(row.about["head"]) for row in rows):
        number = heads.index(head)
        chart.legend(head, f"c{number % COLOURS}{' ring' if number // COLOURS % 2 else ''}")
    if searches:
        chart.legend("a sweep's whole search", "whole")
    return Cost(name, chart.render(), front, searches)


def _search(sweep: "Sweep", board: Board) -> Search | None:
    """The cost of a sweep that ended with a run of the leaderboard; None for others."""
    row = board.of(sweep.final_run) if sweep.final_run else None
    spent = float(np.nansum(sweep.trials["seconds"].to_numpy(dtype=float)))
    return Search(sweep.id, len(sweep.trials), spent, row) if row is not None and spent > 0 else None


def _shown(fitting: float) -> float:
    return max(fitting, LEAST_SECONDS)
