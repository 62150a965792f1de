"""Evaluations on the page: each run on data sets that it has never seen, beside its own scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import DamagedError
from hamcache.pipeline.evaluate.evaluations import Evaluation, all_evaluations, bound_of
from hamcache.pipeline.evaluate.intervals import Interval
from hamcache.pipeline.show.plots.evaluation import evaluation_figure
from hamcache.pipeline.show.plots.svg import as_svg
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.web.run_view import data_uri

SCORES = ("mcc", "weighted_f1", "balanced_accuracy", "accuracy", "macro_auc", "ece")


@dataclass(frozen=True, eq=False)
class EvaluationView:
    """One evaluation of a run in the leaderboard.

    Attributes:
        evaluation: The evaluation.
        row: The run.
        scores: Name, score there, the run's own, and the difference.
        picture: Address of its picture, empty where it cannot be drawn.
    """

    evaluation: Evaluation
    row: Row
    scores: list[tuple[str, Interval | None, Interval | None, Interval | None]]
    picture: Markup

    @property
    def record(self) -> dict[str, Any]:
        """All that it holds."""
        return self.evaluation.record

    def bound(self, *keys: str) -> Interval | None:
        """The interval in a place of the record."""
        value: Any = self.record
        for key in keys:
            value = value[key]
        return bound_of(value)


def evaluation_views(board: Board, workspace: Workspace) -> list[EvaluationView]:
    """The evaluations of the runs of a leaderboard, the latest first; what is damaged is passed over."""
    views = []
    for evaluation in reversed(all_evaluations(workspace)):
        row = board.of(evaluation.record["run"])
        if row is not None:
            views.append(EvaluationView(evaluation, row, _scores(evaluation), _picture(evaluation)))
    return views


def _scores(evaluation: Evaluation) -> list[tuple[str, Interval | None, Interval | None, Interval | None]]:
    tables = [evaluation.record[of] for of in ("scores", "own", "difference")]
    rows = []
    for name in evaluation.scored(SCORES):
        there, own, gap = (bound_of(table.get(name)) for table in tables)
        rows.append((name, there, own, gap))
    return rows


def _picture(evaluation: Evaluation) -> Markup:
    try:
        return data_uri(as_svg(evaluation_figure(evaluation)))
    except DamagedError:
        return Markup()
