"""Scores of a grid's cells over seeds, and the means of its rows and columns, with intervals over lesions."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.errors import ComparisonError
from hamcache.pipeline.evaluate.intervals import RESAMPLES, difference, holm, interval, resampled_together
from hamcache.pipeline.runs.records import Run

MEAN = "mean"
"""Stands for all backbones, or all augmentations, in the rows of `grid_scores`."""
COLUMNS = ("backbone", "augmentation", "seeds", "score", "low", "high", "p_holm")


def grid_scores(
    cells: Sequence[tuple[str, str, Run | None]],
    metric: str,
    part: str,
    *,
    best: tuple[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean over seeds of each cell, and the mean of each row and column and of all, with 95 % intervals.

    All runs are scored on common resamples of lesions (`evaluate.intervals.resampled_together`), and the means are
    taken resample by resample. So an interval says how much a mean would vary with other lesions of this kind, scored
    by these heads; seeds that validate on overlapping images are not counted as independent, and how much another
    seed would change is not in it. A mean in which a run is missing is NaN: it would be one of other cells.

    Args:
        cells: Backbone, augmentation and run of each cell and seed; None for a run that failed.
        metric: What is scored.
        part: Part of the split.
        best: Backbone and augmentation of the cell that all others are compared with; None: the best of this part.
        resamples: Resamples of the bootstrap.
        seed: Seed of the resamples.

    Returns:
        `backbone, augmentation, seeds, score, low, high, p_holm`; in the means `mean` stands for all of a kind. The
        last says how easily chance alone would make a cell differ so much from the best one (paired bootstrap,
        corrected by Holm for the number of cells); the best cell and the means have none.

    Raises:
        ComparisonError: The runs are of different classes.
    """
    runs = [run for _, _, run in cells if run is not None]
    if len({run.classes for run in runs}) > 1:
        raise ComparisonError("expected runs of the same classes in one grid, got different ones: run the grid again")
    sets = [run.answers(part) for run in runs]
    drawn = resampled_together(sets, metric, classes=runs[0].classes, resamples=resamples, seed=seed)
    lesions = len(set().union(*(groups for _, _, groups in sets)))
    of_cell = iter(drawn)
    absent = np.full(drawn.shape[1], np.nan)
    values = pd.DataFrame([absent if run is None else next(of_cell) for _, _, run in cells])
    names = pd.DataFrame([(b, a) for b, a, _ in cells], columns=["backbone", "augmentation"])
    rows: list[tuple[str, str, int, float, float, float]] = []
    of_means: dict[tuple[str, str], np.ndarray] = {}
    for backbone in [*dict.fromkeys(names["backbone"]), MEAN]:
        for augmentation in [*dict.fromkeys(names["augmentation"]), MEAN]:
            row = (names["backbone"] == backbone) | (backbone == MEAN)
            inside = row & ((names["augmentation"] == augmentation) | (augmentation == MEAN))
            of_means[backbone, augmentation] = values[inside].to_numpy().mean(axis=0)
            mean = interval(of_means[backbone, augmentation], lesions)
            seeds = int(names[inside].value_counts().max())
            rows.append((backbone, augmentation, seeds, mean.value, mean.low, mean.high))
    table = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
    whole = {cell: drawn for cell, drawn in of_means.items() if MEAN not in cell and not np.isnan(drawn[0])}
    chances = _against_best(whole, METRICS[metric].higher_is_better, best, lesions)
    pairs = zip(table["backbone"], table["augmentation"], strict=True)
    return table.assign(p_holm=[chances.get(pair, np.nan) for pair in pairs])


def _against_best(
    cells: Mapping[tuple[str, str], np.ndarray], higher: bool, best: tuple[str, str] | None, lesions: int
) -> dict[tuple[str, str], float]:
    """Holm's p of each cell but the best one, from their rows of resampled means."""
    if not cells or (best is not None and best not in cells):
        return {}
    first = best or (max if higher else min)(cells, key=lambda cell: cells[cell][0])
    others = [cell for cell in cells if cell != first]
    p_values = [difference(cells[cell], cells[first], lesions).p_value for cell in others]
    return dict(zip(others, map(float, holm(p_values)), strict=True))
