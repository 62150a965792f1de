"""A training's course: loss and scores by epoch."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.parts import title_of
from hamcache.pipeline.show.plots.style import CHANCE, COLOURS, WIDTH, titled

PHASES = ("#FFFFFF", "#EEEEEE")
FEW_EPOCHS = 40  # each is marked
_PARTS: dict[str, dict[str, Any]] = {
    "train": {"color": COLOURS[0], "marker": "o", "label": "train"},
    "valid": {"color": COLOURS[5], "marker": "s", "label": "validation"},
}


def curves_figure(run: Run) -> Figure | None:
    """Loss left, the scores that were watched right, the kept epoch marked; None for a head without epochs.

    Folds are lines of one colour. Phases of a fine-tuning are shaded, and named above.
    """
    history = unsigned_history(run.history)
    if history.empty:
        return None
    found = {column.partition("_")[2] for column in map(str, history) if column.startswith(("train_", "valid_"))}
    names = sorted(found, key=lambda name: (name != "loss", name))
    folds = [rows for _, rows in history.groupby("fold")] if "fold" in history else [history]
    best = _best_epochs(folds, objective_of(run))
    chance = run.baseline("validation")
    figure = Figure(figsize=(max(WIDTH, 4.2 * len(names)), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _shade_phases(axes, folds[0])
        for part, look in _PARTS.items():
            if f"{part}_{name}" in history:
                _draw_folds(axes, folds, f"{part}_{name}", look)
        for number, epoch in enumerate(best):
            label = (
                f"best {objective_of(run)}: epoch {epoch}" if len(best) == 1 else f"best {objective_of(run)} of a fold"
            )
            axes.axvline(epoch, color="black", linestyle=":", linewidth=1, label=label if number == 0 else None)
        if name != "loss" and name in chance:
            axes.axhline(chance[name], color="black", linestyle="--", linewidth=1, label=CHANCE)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
    titled(figure, title_of(run, "Training by epoch"))
    return figure


def objective_of(run: Run) -> str:
    """Name of the metric that decided which epoch is kept, or `loss`."""
    config = run.config
    params = (config.net or config.head).params
    return str(params.get("objective", config.objective))


def unsigned_history(history: pd.DataFrame) -> pd.DataFrame:
    """The history with metrics as they are: what is better when lower was recorded with its sign changed."""
    losses = [name for name, metric in METRICS.items() if not metric.higher_is_better]
    turned = [column for name in losses for column in (f"train_{name}", f"valid_{name}") if column in history]
    return history.assign(**{column: -history[column] for column in turned})


def _best_epochs(folds: list[pd.DataFrame], name: str) -> list[int]:
    """The epoch of each fold with the best validation score of this name; none where it was not watched."""
    column, higher = f"valid_{name}", name in METRICS and METRICS[name].higher_is_better
    watched = [rows.dropna(subset=[column]) for rows in folds if column in rows]
    return [
        int(rows["epoch"].iloc[rows[column].argmax() if higher else rows[column].argmin()])
        for rows in watched
        if len(rows)
    ]


def _draw_folds(axes: Any, folds: list[pd.DataFrame], column: str, look: dict[str, Any]) -> None:
    label = look["label"] + (f" ({len(folds)} folds)" if len(folds) > 1 else "")
    for number, rows in enumerate(folds):
        axes.plot(
            rows["epoch"],
            rows[column],
            color=look["color"],
            marker=look["marker"] if len(rows) < FEW_EPOCHS else None,
            markersize=3,
            linewidth=1.5 if len(folds) == 1 else 0.8,
            label=label if number == 0 else None,
        )


def _shade_phases(axes: Any, rows: pd.DataFrame) -> None:
    """A band a phase, with its name at the top; nothing where there is one phase or none."""
    if "phase" not in rows or rows["phase"].nunique() < 2:
        return
    for number, (phase, epochs) in enumerate(rows.groupby("phase", sort=False)):
        first, last = epochs["epoch"].min() - 0.5, epochs["epoch"].max() + 0.5
        axes.axvspan(first, last, color=PHASES[number % 2], zorder=0)
        axes.text(
            (first + last) / 2,
            1.01,
            str(phase),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=9,
            parse_math=False,
        )
