"""Sweeps on the page: how the search went, which values go with which score, and every trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from pipeline.metrics import METRICS
from pipeline.report.board import Board, Row, label
from pipeline.report.charts import Chart, linear, path
from pipeline.report.markup import score, short_number, tag
from pipeline.report.pictures import embedded_png

if TYPE_CHECKING:
    from pipeline.sweeps.results import Sweep

FIXED = ("trial", "state", "epochs", "seconds", "overhead", "error")
"""Columns of a trial beside the objective; all others are values that were searched."""
STATES = ("finished", "stopped", "failed")
MOST_LINES = 300
MOST_AXES = 10
SHADES = 5


@dataclass(frozen=True, eq=False)
class SweepView:
    """One sweep.

    Attributes:
        sweep: The sweep.
        counts: State -> number of trials.
        seconds: Of all trials.
        best: The best trial, or None where none has a score.
        row: The run it ended with, if it is in the leaderboard.
        history: Chart of the objective by trial.
        parallel: Parallel coordinates, or None with fewer than two values or trials.
        importance: The sweep's own picture as a data URI, or None.
        keys: What was searched.
        trials: One dict a trial.
    """

    sweep: Sweep
    counts: dict[str, int]
    seconds: float
    best: dict[str, Any] | None
    row: Row | None
    history: Markup
    parallel: Markup | None
    importance: str | None
    keys: list[str]
    trials: list[dict[str, Any]]


def sweep_views(sweeps: Sequence[Sweep], board: Board) -> list[SweepView]:
    """The sweeps, in the order given."""
    return [_view(sweep, board) for sweep in sweeps]


def _view(sweep: Sweep, board: Board) -> SweepView:
    trials, objective = sweep.trials, sweep.objective
    keys = [column for column in trials.columns if column not in (*FIXED, objective)]
    states = trials["state"].astype(str).str.split().str[0]
    done = trials[trials[objective].notna() & (states != "failed")]
    higher = METRICS[objective].higher_is_better if objective in METRICS else True
    best = None
    if len(done):
        place = done[objective].idxmax() if higher else done[objective].idxmin()
        best = trials.loc[place].to_dict()
    return SweepView(
        sweep=sweep,
        counts={state: int((states == state).sum()) for state in STATES if (states == state).any()},
        seconds=float(np.nansum(trials["seconds"].to_numpy(dtype=float))),
        best=best,
        row=board.of(sweep.final_run) if sweep.final_run else None,
        history=_history(sweep, trials, states, higher),
        parallel=_parallel(sweep, done, keys, higher),
        importance=embedded_png(Path(sweep.folder) / "importance.png"),
        keys=keys,
        trials=trials.astype(object).where(trials.notna(), None).to_dict("records"),
    )


def _history(sweep: Sweep, trials: pd.DataFrame, states: pd.Series, higher: bool) -> Markup:
    """The objective by trial, and the best so far."""
    values = trials[sweep.objective].astype(float)
    numbers = np.arange(1, len(trials) + 1, dtype=float)
    chart = Chart(
        linear([0.0, len(trials) + 1.0], margin=0.0),
        linear(values[values.notna()]),
        "trial",
        label(sweep.objective),
        f"{label(sweep.objective)} of {len(trials)} trials of {sweep.id}",
        "wide",
    )
    looks = {"finished": "c0", "stopped": "c4", "failed": "c5"}
    for state, look in looks.items():
        some = (states == state).to_numpy() & values.notna().to_numpy()
        if some.any():
            words = "stopped early" if state == "stopped" else state
            chart.marks(list(zip(numbers[some], values[some], strict=True)), look, name=words)
    scored = values.where(states == "finished")
    so_far = scored.cummax() if higher else scored.cummin()
    so_far = so_far.ffill()
    points = [(n, v) for n, v in zip(numbers, so_far, strict=True) if np.isfinite(v)]
    if points:
        chart.line([*points, (float(len(trials)) + 0.5, points[-1][1])], "front", name="best so far", step=True)
    return chart.render()


def _parallel(sweep: Sweep, done: pd.DataFrame, keys: Sequence[str], higher: bool) -> Markup | None:
    """One line a trial through its values and its score; the better, the darker."""
    keys = [key for key in keys if done[key].nunique(dropna=True) > 1][:MOST_AXES]
    if not keys or len(done) < 2:
        return None
    done = done.tail(MOST_LINES)
    axes = [_Axis(key, done[key]) for key in keys] + [_Axis(label(sweep.objective), done[sweep.objective])]
    rank = done[sweep.objective].rank(pct=True, ascending=higher).to_numpy()
    places = [round(1000 * n / (len(axes) - 1)) for n in range(len(axes))]
    lines = []
    for n in np.argsort(rank):
        points = [(x, 1000 - round(1000 * y)) for x, axis in zip(places, axes, strict=True) if (y := axis.heights[n]) >= 0]
        shade = min(int(rank[n] * SHADES), SHADES - 1)
        lines.append(tag("path", d=path(points), class_=f"line shade{shade}"))
    svg = tag("svg", *lines, viewBox="0 0 1000 1000", preserveAspectRatio="none", aria_hidden="true")
    columns = [
        tag(
            "div",
            tag("b", axis.name),
            *(tag("span", text, style=f"bottom:{100 * at:.1f}%") for text, at in axis.ticks),
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
        aria_label=f"Parallel coordinates of {len(done)} trials over {', '.join(keys)}",
        style=f"--axes:{len(axes)}",
    )


class _Axis:
    """One axis of parallel coordinates: where each trial is on it (-1: nowhere), and what is written on it."""

    def __init__(self, name: str, values: pd.Series) -> None:
        self.name = name
        numbers = pd.to_numeric(values, errors="coerce")
        if pd.api.types.is_bool_dtype(values) or numbers.notna().sum() < values.notna().sum():
            names = sorted({str(v) for v in values.dropna()})
            step = 1 / max(len(names) - 1, 1)
            heights = {one: n * step for n, one in enumerate(names)}
            self.ticks = [(one, at) for one, at in heights.items()]
            self.heights = [heights[str(v)] if pd.notna(v) else -1.0 for v in values]
            return
        low, high = float(numbers.min()), float(numbers.max())
        log = low > 0 and high / low >= 50
        scaled = (np.log(numbers) if log else numbers).to_numpy(dtype=float)
        least, most = np.nanmin(scaled), np.nanmax(scaled)
        heights_ = (scaled - least) / max(most - least, 1e-300)
        self.heights = [float(h) if np.isfinite(h) else -1.0 for h in heights_]
        middle = float(np.exp((least + most) / 2)) if log else (low + high) / 2
        self.ticks = [(short_number(float(f"{v:.3g}")), at) for v, at in ((low, 0.0), (middle, 0.5), (high, 1.0))]


def trial_value(value: Any) -> str:
    """A searched value as the table of trials shows it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return score(value) if 1e-2 <= abs(value) < 1e3 else f"{value:.3g}"
    return str(value)
