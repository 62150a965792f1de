"""Subgroups on the page: the best run of each cohort by age band, sex, body site, and how the diagnosis was found."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from hamcache.data.workspace import Workspace
from hamcache.pipeline.evaluate.intervals import RESAMPLES
from hamcache.pipeline.evaluate.subgroups import Subgroup, metrics_of, run_subgroups
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.report.charts import Scale, linear

MOST_COHORTS = 4


@dataclass(frozen=True, eq=False)
class SubgroupView:
    """One run in subgroups.

    Attributes:
        row: The run, the best of its cohort.
        name: Of the cohort.
        metric: The score that is drawn.
        others: The scores that stand beside it.
        columns: Column -> its groups.
        scale: Of the drawn intervals.
    """

    row: Row
    name: str
    metric: str
    others: list[str]
    columns: dict[str, list[Subgroup]]
    scale: Scale


def subgroup_views(board: Board, workspace: Workspace, resamples: int = RESAMPLES) -> list[SubgroupView]:
    """The best runs in subgroups, of cohorts whose data set is here and has columns for it."""
    views = []
    for cohort in board.cohorts[:MOST_COHORTS]:
        row, metric = cohort.best, board.metric.name
        metrics = list(dict.fromkeys([metric, *metrics_of(row.run)]))
        found = run_subgroups(row.run, workspace, board.part, metrics=metrics, resamples=resamples)
        if isinstance(found, str) or not found:
            continue
        columns = {column: list(groups) for column, groups in groupby(found, key=lambda group: group.column)}
        bounds = [bound for group in found if (bound := group.scores[metric]) is not None]
        ends = [end for bound in bounds for end in (bound.value, bound.low, bound.high) if np.isfinite(end)]
        views.append(SubgroupView(row, cohort.name, metric, metrics[1:], columns, linear([row.value, *ends])))
    return views
