"""Scores of a grid's cells over seeds, and the means of its rows and columns, with intervals over lesions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.errors import ComparisonError
from pipeline.intervals import RESAMPLES, interval, resampled_together
from pipeline.runs import Run

MEAN = "mean"
"""Stands for all backbones, or all augmentations, in the rows of `grid_scores`."""
COLUMNS = ("backbone", "augmentation", "seeds", "score", "low", "high")


def grid_scores(
    cells: Sequence[tuple[str, str, Run | None]], metric: str, part: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """The mean over seeds of each cell, and the mean of each row and column and of all, with 95 % intervals.

    All runs are scored on common resamples of lesions (`pipeline.intervals.resampled_together`), and the means are
    taken resample by resample. So an interval says how much a mean would vary with other lesions of this kind, scored
    by these heads; seeds that validate on overlapping images are not counted as independent, and how much another
    seed would change is not in it. A mean in which a run is missing is NaN: it would be one of other cells.

    Args:
        cells: Backbone, augmentation and run of each cell and seed; None for a run that failed.
        metric: What is scored.
        part: Part of the split.
        resamples: Resamples of the bootstrap.
        seed: Seed of the resamples.

    Returns:
        `backbone, augmentation, seeds, score, low, high`; in the means `mean` stands for all of a kind.

    Raises:
        ComparisonError: The runs are of different classes.
    """
    runs = [run for _, _, run in cells if run is not None]
    if len({run.classes for run in runs}) > 1:
        raise ComparisonError("expected runs of the same classes in one grid, got different ones: run the grid again")
    sets = [(run.labels(part), run.probabilities(part), run.part(part)["group"].to_numpy(dtype=object)) for run in runs]
    drawn = resampled_together(sets, metric, classes=runs[0].classes, resamples=resamples, seed=seed)
    lesions = len(set().union(*(groups for _, _, groups in sets)))
    of_cell = iter(drawn)
    absent = np.full(drawn.shape[1], np.nan)
    values = pd.DataFrame([absent if run is None else next(of_cell) for _, _, run in cells])
    names = pd.DataFrame([(b, a) for b, a, _ in cells], columns=["backbone", "augmentation"])
    rows = []
    for backbone in [*dict.fromkeys(names["backbone"]), MEAN]:
        for augmentation in [*dict.fromkeys(names["augmentation"]), MEAN]:
            row = (names["backbone"] == backbone) | (backbone == MEAN)
            inside = row & ((names["augmentation"] == augmentation) | (augmentation == MEAN))
            some = values[inside].to_numpy()
            found = interval(some.mean(axis=0), lesions)
            seeds = int(names[inside].value_counts().max())
            rows.append((backbone, augmentation, seeds, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=list(COLUMNS))
