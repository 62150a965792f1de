"""Sweeps on the page: how the search went, which values go with which score, and every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from hamcache.heads.metrics import get_metric
from hamcache.pipeline.show.report.board import Board, Row, label
from hamcache.pipeline.show.report.charts import Chart, linear, path
from hamcache.pipeline.show.report.markup import short_number, tag
from hamcache.pipeline.studies.sweeps.importance import importances
from hamcache.pipeline.studies.sweeps.results import FAILED, FINISHED, STOPPED
from hamcache.pipeline.studies.sweeps.space import short_key, short_label

if TYPE_CHECKING:
    from hamcache.pipeline.studies.sweeps.results import Sweep

LOOKS = {FINISHED: ("finished", "c0"), STOPPED: ("stopped early", "c7"), FAILED: ("failed", "c5")}
MOST_LINES = 300
MOST_AXES = 12
MOST_TRIALS = 1000
SHADES = 5


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
        history: Chart of the objective by trial, or None before the first trial has ended.
        parallel: Parallel coordinates, or None with fewer than two trials or no value that differs.
        importance: Key -> the share of the scores' variance that it explains; empty with too few trials.
        keys: What was searched, and whether its values are numbers.
        short: Each key in few letters.
        trials: In the order they ended.
    """

    sweep: Sweep
    counts: dict[str, int]
    seconds: float
    best: TrialView | None
    row: Row | None
    history: Markup | None
    parallel: Markup | None
    importance: dict[str, float]
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
    finished = [one for one in trials if one.state == FINISHED and one.score is not None]
    states = [one.state for one in trials]
    return SweepView(
        sweep=sweep,
        counts={words: states.count(state) for state, (words, _) in LOOKS.items() if state in states},
        seconds=float(sum(one.seconds for one in trials)),
        best=min(finished, key=lambda one: -_score(one) if higher else _score(one), default=None),
        row=board.of(sweep.final_run) if sweep.final_run else None,
        history=_history(sweep, trials, higher) if trials else None,
        parallel=_parallel(sweep, trials, higher),
        importance=dict(importances(sweep)[["key", "importance"]].itertuples(index=False)),
        keys={key: not one.is_choice for key, one in space.items()},
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


def _history(sweep: Sweep, trials: Sequence[TrialView], higher: bool) -> Markup:
    """The objective by trial in the order they ended, and the best so far of those that were trained to their end."""
    scored = [(float(n), _score(one), one.state) for n, one in enumerate(trials, start=1) if one.score is not None]
    end = len(trials) + 0.5
    chart = Chart(
        linear([0.5, end], margin=0.0),
        linear([score for _, score, _ in scored]),
        "trials in the order they ended",
        label(sweep.objective),
        f"{label(sweep.objective)} of {len(trials)} trials of {sweep.id}",
        "wide",
    )
    for state, (words, look) in LOOKS.items():
        points = [(n, score) for n, score, found in scored if found == state]
        if points:
            chart.marks(points, look, name=words)
    done = [(n, score) for n, score, state in scored if state == FINISHED]
    if done:
        best = (np.maximum if higher else np.minimum).accumulate([score for _, score in done])
        steps = [(n, float(value)) for (n, _), value in zip(done, best, strict=True)]
        chart.line([*steps, (end, steps[-1][1])], "front", name="best so far", step=True)
    return chart.render()


def _parallel(sweep: Sweep, trials: Sequence[TrialView], higher: bool) -> Markup | None:
    """One line a trial through its values and its score: the better, the stronger; thin where it was stopped early."""
    shown = [one for one in trials if one.score is not None][-MOST_LINES:]
    space = sweep.settings.space
    axes = [_axis(key, short_key(key, space), shown, one.loguniform is not None) for key, one in space.items()]
    axes = [axis for axis in axes if len(set(axis.heights.values())) > 1][: MOST_AXES - 1]
    if not axes or len(shown) < 2:
        return None
    axes.append(_numbers(label(sweep.objective), {n: _score(one) for n, one in enumerate(shown)}))
    order = np.argsort([_score(one) if higher else -_score(one) for one in shown], kind="stable")
    places = [round(1000 * n / (len(axes) - 1)) for n in range(len(axes))]
    lines = []
    for rank, n in enumerate(order):
        points = [
            (x, 1000 - round(1000 * axis.heights[int(n)]))
            for x, axis in zip(places, axes, strict=True)
            if int(n) in axis.heights
        ]
        look = f"line shade{rank * SHADES // len(shown)}" + (" stopped" if shown[int(n)].state == STOPPED else "")
        lines.append(tag("path", d=path(points), class_=look))
    svg = tag("svg", *lines, viewBox="0 0 1000 1000", preserveAspectRatio="none", aria_hidden="true")
    columns = [
        tag(
            "div",
            tag("b", axis.name, title=axis.name),
            *(tag("span", text, title=text, style=f"bottom:{100 * at:.1f}%") for text, at in axis.ticks),
            class_="axis",
            style=f"left:{x / 10:.1f}%",
        )
        for x, axis in zip(places, axes, strict=True)
    ]
    return tag(
        "div",
        tag("div", svg, *columns, class_="plot"),
        class_="chart parallel",
        role="img",
        aria_label=f"Parallel coordinates of {len(shown)} trials over {', '.join(axis.name for axis in axes)}",
        style=f"--axes:{len(axes)}",
    )


@dataclass(frozen=True)
class _Axis:
    """One axis of parallel coordinates: where each trial that has a value is on it, and what is written on it."""

    name: str
    heights: dict[int, float]
    ticks: list[tuple[str, float]]


def _axis(key: str, name: str, trials: Sequence[TrialView], log: bool) -> _Axis:
    numbers = {n: v for n, one in enumerate(trials) if (v := one.numbers.get(key)) is not None}
    if numbers:
        return _numbers(name, numbers, log)
    texts = {n: one.values[key] for n, one in enumerate(trials) if key in one.values}
    names = sorted(set(texts.values()), key=lambda name: (len(name), name))
    height = {name: n / max(len(names) - 1, 1) for n, name in enumerate(names)}
    return _Axis(name, {n: height[text] for n, text in texts.items()}, list(height.items()))


def _numbers(name: str, numbers: Mapping[int, float], log: bool = False) -> _Axis:
    low, high = min(numbers.values()), max(numbers.values())
    least, most = (np.log(low), np.log(high)) if log else (low, high)
    middle = float(np.exp((least + most) / 2)) if log else (low + high) / 2
    width = max(most - least, 1e-300)
    heights = {n: float(((np.log(v) if log else v) - least) / width) for n, v in numbers.items()}
    return _Axis(
        name,
        heights,
        [(short_number(float(f"{v:.3g}")), at) for v, at in zip((low, middle, high), (0.0, 0.5, 1.0), strict=True)],
    )
