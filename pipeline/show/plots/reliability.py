"""The reliability diagram: is a probability of 0.8 right in 80 of 100 cases?"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hamcache.heads.metrics import ECE_BINS, confidence_bins
from hamcache.heads.scored import divide
from hamcache.pipeline.evaluate.intervals import LEVEL, group_weights
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.parts import Shown, shown_parts, title_of
from hamcache.pipeline.show.plots.style import COLOURS, panel_title, titled

FEW = 10  # images in a bin


def reliability_table(part: Shown, seed: int = 0) -> pd.DataFrame:
    """The bins of the expected calibration error (Guo et al. 2017), with a lesion-bootstrap interval of the accuracy.

    Returns:
        One row a bin that holds images: `bin, images, confidence, accuracy, low, high`.
    """
    bins, confidence = confidence_bins(part.proba)
    inside = np.eye(ECE_BINS)[bins]
    right = inside * (part.proba.argmax(axis=1) == part.y)[:, None]
    drawn = [divide(w @ right, w @ inside, otherwise=np.nan) for w in group_weights(part.groups, part.resamples, seed)]
    kept = np.flatnonzero(inside.sum(axis=0))
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(np.concatenate(drawn)[:, kept], [tail, 100 - tail], axis=0)
    images = inside.sum(axis=0)[kept]
    return pd.DataFrame(
        {
            "bin": kept,
            "images": images.astype(int),
            "confidence": (inside * confidence[:, None]).sum(axis=0)[kept] / images,
            "accuracy": right.sum(axis=0)[kept] / images,
            "low": low,
            "high": high,
        }
    )


def reliability_figure(run: Run) -> Figure:
    """A column a part: accuracy by confidence above, how many images have that confidence below."""
    parts = shown_parts(run)
    figure = Figure(figsize=(4.6 * len(parts) + 1.0, 6), layout="constrained")
    for column, part in zip(figure.subplots(2, len(parts), squeeze=False, height_ratios=(3, 1)).T, parts, strict=True):
        above, below = column
        table = reliability_table(part)
        above.plot([0, 1], [0, 1], color="#666666", linestyle="--", linewidth=1, label="perfectly calibrated")
        above.vlines(
            table["confidence"],
            table["confidence"],
            table["accuracy"],
            color=COLOURS[1],
            linewidth=5,
            alpha=0.45,
            label="gap",
        )
        few = table["images"] < FEW
        _points(above, table[~few], COLOURS[0], "accuracy, 95 % bootstrap over lesions")
        if few.any():
            _points(above, table[few], "white", f"the same, fewer than {FEW} images")
        above.set(ylabel="accuracy", xlim=(0, 1), ylim=(-0.02, 1.02))
        panel_title(above, f"{part.words}\nexpected calibration error {part.scores['ece']:.3f}")
        above.legend(frameon=False, fontsize=8, loc="lower right")
        below.bar((table["bin"] + 0.5) / ECE_BINS, table["images"], width=0.9 / ECE_BINS, color=COLOURS[4])
        below.set(xlabel="confidence: probability of the predicted class", ylabel="images", xlim=(0, 1))
        for axes in column:
            axes.grid(alpha=0.3)
            axes.set_axisbelow(True)
    titled(figure, title_of(run, "Reliability: is the confidence right?"))
    return figure


def _points(axes: Any, table: pd.DataFrame, fill: str, label: str) -> None:
    reach = [table["accuracy"] - table["low"], table["high"] - table["accuracy"]]
    axes.errorbar(
        table["confidence"],
        table["accuracy"],
        yerr=np.clip(np.array(reach), 0, None),
        color=COLOURS[0],
        markerfacecolor=fill,
        marker="o",
        markersize=5,
        linestyle="none",
        elinewidth=1,
        capsize=2,
        label=label,
    )
