"""Sweeps on the page: how the search went, which values go with which score, and every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from hamcache.heads.metrics import get_metric
from hamcache.pipeline.show.plots.svg import as_svg
from hamcache.pipeline.show.plots.sweeps import sweep_figures
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.web.run_view import data_uri
from hamcache.pipeline.studies.sweeps.results import FAILED, FINISHED, STOPPED
from hamcache.pipeline.studies.sweeps.space import short_key, short_label

if TYPE_CHECKING:
    from hamcache.pipeline.studies.sweeps.results import Sweep

WORDS = {FINISHED: "finished", STOPPED: "stopped early", FAILED: "failed"}
CAPTIONS = {
    "history": "Score by trial",
    "parallel": "The values of each trial",
    "importance": "Which values decide the score",
}
MOST_TRIALS = 1000


@dataclass(frozen=True)
class TrialView:
    """One trial: its number, state, score (None without), epochs, seconds, error, and the text of each value."""

    number: int
    state: str
    score: float | None
    epochs: int
    seconds: float
    error: str
    values: dict[str, str]
    numbers: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class SweepView:
    """One sweep.

    Attributes:
        sweep: The sweep.
        counts: State in words -> number of trials.
        seconds: Of all trials.
        best: The best finished trial, or None.
        row: The run it ended with, if it is in the leaderboard.
        figures: Caption and address of each picture (see `show.plots.sweeps`), as far as the trials allow.
        keys: Searched keys; True for those whose values are numbers.
        short: Each key in few letters.
        trials: In the order they ended.
    """

    sweep: Sweep
    counts: dict[str, int]
    seconds: float
    best: TrialView | None
    row: Row | None
    figures: list[tuple[str, str]]
    keys: dict[str, bool]
    short: dict[str, str]
    trials: list[TrialView]


def sweep_views(sweeps: Sequence[Sweep], board: Board) -> list[SweepView]:
    """The sweeps, the latest first (they are given the other way round)."""
    return [_view(sweep, board) for sweep in reversed(sweeps)]


def _view(sweep: Sweep, board: Board) -> SweepView:
    space = sweep.settings.space
    trials = [_trial(sweep, row) for row in sweep.trials.to_dict("records")]
    higher = get_metric(sweep.objective).higher_is_better
    finished = [trial for trial in trials if trial.state == FINISHED and trial.score is not None]
    states = [trial.state for trial in trials]
    return SweepView(
        sweep=sweep,
        counts={words: states.count(state) for state, words in WORDS.items() if state in states},
        seconds=float(sum(trial.seconds for trial in trials)),
        best=min(finished, key=lambda trial: -_score(trial) if higher else _score(trial), default=None),
        row=board.of(sweep.final_run) if sweep.final_run else None,
        figures=[(CAPTIONS[name], data_uri(as_svg(figure))) for name, figure in sweep_figures(sweep).items()],
        keys={key: not dimension.is_choice for key, dimension in space.items()},
        short={key: short_key(key, space) for key in space},
        trials=trials[-MOST_TRIALS:],
    )


def _trial(sweep: Sweep, row: Mapping[Any, Any]) -> TrialView:
    score, point = row[sweep.objective], sweep.point(row)
    return TrialView(
        number=int(row["trial"]),
        state=str(row["state"]),
        score=None if pd.isna(score) else float(score),
        epochs=int(row["epochs"]),
        seconds=float(row["seconds"]),
        error=str(row["error"]),
        values={key: short_label(value) for key, value in point.items()},
        numbers={
            key: float(value) if isinstance(value, int | float) and not sweep.settings.space[key].is_choice else None
            for key, value in point.items()
        },
    )


def _score(trial: TrialView) -> float:
    assert trial.score is not None
    return trial.score
