"""Pictures of a sweep: how its score rose, which values good trials have, and which keys matter."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hamcache.heads.metrics import get_metric
from hamcache.pipeline.show.plots.style import COLOURS, PANEL_TITLE, WIDTH, fitted, rows_down, save_figure, titled
from hamcache.pipeline.studies.sweeps.results import FAILED, FINISHED, STOPPED, Sweep
from hamcache.pipeline.studies.sweeps.space import Dimension, label, short_key, short_label

FADED = "#888888"
UNUSED, BELOW = "not in use", -0.13
"""Trials that do not use a key pass below its axis."""
WORDS = {FINISHED: "finished", STOPPED: "stopped early"}
HALO: dict[str, Any] = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


def plot_sweep(sweep: Sweep) -> list[Path]:
    """Write `history.png`, `parallel.png` and `importance.png` into the sweep's folder, as far as its trials allow."""
    figures = sweep_figures(sweep)
    for name, figure in figures.items():
        save_figure(figure, sweep.folder / f"{name}.png")
    return [sweep.folder / f"{name}.png" for name in figures]


def sweep_figures(sweep: Sweep) -> dict[str, Figure]:
    """The pictures of a sweep, without those for which it has too few trials."""
    if (sweep.trials["state"] == FAILED).all():
        return {}
    importance = plot_importance(sweep)
    figures = {"history": plot_history(sweep), "parallel": plot_parallel(sweep)}
    return figures if importance is None else {**figures, "importance": importance}


def plot_history(sweep: Sweep) -> Figure:
    """Each trial's score in the order they ended, and the best so far."""
    trials, metric = sweep.trials, get_metric(sweep.objective)
    scores, states = trials[sweep.objective].to_numpy(np.float64), trials["state"].to_numpy()
    order = np.arange(1, len(trials) + 1)
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    axes = figure.add_subplot()
    best = np.where(states == FINISHED, scores, -np.inf if metric.higher_is_better else np.inf)
    best = np.maximum.accumulate(best) if metric.higher_is_better else np.minimum.accumulate(best)
    axes.step(order, np.where(np.isfinite(best), best, np.nan), where="post", color=COLOURS[1], linewidth=2)
    axes.lines[-1].set_label("best so far")
    looks: dict[str, dict[str, Any]] = {
        FINISHED: {"marker": "o", "color": COLOURS[0]},
        STOPPED: {"marker": "v", "facecolors": "white", "edgecolors": FADED},
    }
    for state, look in looks.items():
        chosen = states == state
        if chosen.any():
            axes.scatter(
                order[chosen], scores[chosen], s=36, zorder=3, label=f"{WORDS[state]} ({chosen.sum()})", **look
            )
    failed = states == FAILED
    if failed.any():
        at_bottom = np.full(failed.sum(), axes.get_ylim()[0])
        words = f"failed ({failed.sum()})"
        axes.scatter(order[failed], at_bottom, marker="x", color=COLOURS[5], label=words, zorder=3, clip_on=False)
    axes.set_xlabel("trials, in the order they ended")
    axes.set_ylabel(f"{sweep.objective} on validation")
    axes.set_xlim(0, len(trials) + 1)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    title = fitted(sweep.id, WIDTH - 0.4, PANEL_TITLE)
    figure.legend(loc="outside upper left", alignment="left", ncols=4, frameon=False, title=title)
    return figure


def plot_parallel(sweep: Sweep) -> Figure:
    """One line a trial across all searched keys, coloured by its score; trials that were stopped early are thin."""
    trials = sweep.trials[sweep.trials["state"] != FAILED]
    points = [sweep.point(row) for _, row in trials.iterrows()]
    keys = [key for key in sweep.settings.space if any(key in point for point in points)]
    space, higher = sweep.settings.space, get_metric(sweep.objective).higher_is_better
    scores, finished = trials[sweep.objective].to_numpy(np.float64), (trials["state"] == FINISHED).to_numpy()
    colours, norm = colormaps["viridis" if higher else "viridis_r"], _colour_range(scores, higher)
    places = np.array([[_place(space[key], p[key]) if key in p else BELOW for key in keys] for p in points])
    # Lines of equal choices lie beside each other.
    choices = np.array([space[key].values() is not None for key in keys])
    places += np.where(choices, np.random.default_rng(0).uniform(-0.014, 0.014, places.shape), 0.0)

    figure = Figure(figsize=(max(WIDTH, 1.6 + 1.2 * len(keys)), 6.4), layout="constrained")
    axes = figure.add_subplot()
    for row in np.lexsort((scores if higher else -scores, finished)):  # the best on top
        look: dict[str, Any] = (
            {"linewidth": 2.4, "zorder": 3} if finished[row] else {"linewidth": 0.8, "alpha": 0.5, "zorder": 2}
        )
        marker = "o" if len(keys) == 1 else None
        axes.plot(range(len(keys)), places[row], color=colours(norm(scores[row])), marker=marker, **look)
    for position, key in enumerate(keys):
        axes.plot([position, position], [0, 1], color="black", linewidth=1, zorder=4)
        ticks = _ticks(space[key])
        if any(key not in point for point in points):
            ticks = [*ticks, (BELOW, UNUSED)]
        for height, text in ticks:
            axes.text(position + 0.04, height, text, fontsize=7.5, va="center", zorder=5, bbox=HALO)
    axes.set_xticks(range(len(keys)), [short_key(key, keys) for key in keys], rotation=25, ha="right")
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(keys) - 0.35)
    axes.set_ylim(BELOW - 0.05, 1.08)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    titled(figure, f"{sweep.id}: thick lines were finished, thin ones stopped early")
    bar = figure.colorbar(
        ScalarMappable(norm, colours), ax=axes, pad=0.01, fraction=0.025, extend="min" if higher else "max"
    )
    bar.set_label(f"{sweep.objective} on validation")
    return figure


def plot_importance(sweep: Sweep) -> Figure | None:
    """The share of the scores' variance that each key explains; None where there are too few trials to say."""
    from hamcache.pipeline.studies.sweeps.importance import importances  # imports Optuna

    found = importances(sweep)
    if found.empty:
        return None
    keys = list(found["key"])
    figure = Figure(figsize=(WIDTH, 1.5 + 0.32 * len(keys)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(keys)), found["importance"], height=0.65, color=COLOURS[0])
    for place, share in enumerate(found["importance"]):
        axes.text(share, place, f" {100 * share:.0f} %", va="center", fontsize=9)
    rows_down(axes, [short_key(key, keys) for key in keys])
    axes.set_xlim(0, 1.12 * float(found["importance"].max()))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(f"share of the variance of {sweep.objective} over the trials (functional ANOVA)")
    titled(figure, f"{sweep.id}: which keys decide {sweep.objective}")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _colour_range(scores: np.ndarray, higher: bool) -> Normalize:
    """From the middle trial to the best: the differences among good trials are what is looked for."""
    low, high = (np.median(scores), scores.max()) if higher else (scores.min(), np.median(scores))
    return Normalize(float(low), float(high) if high > low else float(low) + 1e-9, clip=True)


def _place(dimension: Dimension, value: Any) -> float:
    """Place of a value on its axis, 0 to 1."""
    if dimension.is_choice:
        options = [label(option) for option in dimension.values() or []]
        return options.index(label(value)) / max(len(options) - 1, 1)
    low, high = dimension.loguniform or dimension.uniform or dimension.int_ or (0.0, 1.0)
    if dimension.loguniform:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return float((value - low) / (high - low))


def _ticks(dimension: Dimension) -> list[tuple[float, str]]:
    """Heights and labels on an axis: every option, or five values of a range."""
    if dimension.is_choice:
        options = dimension.values() or []
        return [(_place(dimension, option), _folded(short_label(option))) for option in options]
    low, high = dimension.loguniform or dimension.uniform or dimension.int_ or (0.0, 1.0)
    shares = np.linspace(0, 1, 5)
    values = low * (high / low) ** shares if dimension.loguniform else low + (high - low) * shares
    return [(float(share), f"{value:.2g}") for share, value in zip(shares, values, strict=True)]


def _folded(text: str) -> str:
    """A label that does not reach the next axis: a line for each backbone of a hybrid."""
    if "+" in text:
        text = text.replace("+", "\n+").replace(", ", ",\n")
    lines = [line for part in text.splitlines() for line in wrap(part, 22)]
    return "\n".join(lines if len(lines) <= 6 else [*lines[:5], "..."])
