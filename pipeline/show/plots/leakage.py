"""The picture of a leakage demonstration: two scores a head, and where their difference sits."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hamcache.pipeline.show.plots.style import COLOURS, panel_title, rows_down, save_figure, titled

if TYPE_CHECKING:
    from hamcache.pipeline.studies.leakage.outcome import LeakageDemo

HONEST, LEAKY, REST = COLOURS[0], COLOURS[5], COLOURS[7]


def plot_leakage(demo: "LeakageDemo", path: Path) -> None:
    """Left each head's honest and leaky score on the same test images, right their difference by kind of image.

    Args:
        demo: A demonstration.
        path: The PNG to write.
    """
    rows = demo.rows()
    heads = list(rows["head"])
    figure = Figure(figsize=(10.5, 2.3 + 0.62 * len(heads)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(5, 4), sharey=True)
    _scores(left, rows, demo.metric)
    _gaps(right, demo, heads)
    rows_down(left, heads)
    right.tick_params(axis="y", length=0)
    for side in ("top", "right"):
        right.spines[side].set_visible(False)
    titled(
        figure,
        f"Leakage: {demo.summary['dataset']}, {demo.summary['features']}, "
        f"mean of {len(demo.summary['seeds'])} seeds, 95 % bootstrap intervals over lesions",
    )
    save_figure(figure, path)


def _scores(axes: Any, rows: pd.DataFrame, metric: str) -> None:
    heights = np.arange(len(rows))
    axes.hlines(heights, rows["honest"], rows["leaky"], color="#bbbbbb", linewidth=5, zorder=1)
    _dots(axes, heights - 0.12, rows, "honest", HONEST, "o", "no photograph of a test lesion in train")
    _dots(axes, heights + 0.12, rows, "leaky", LEAKY, "D", "some, as a random split of images puts them there")
    for height, (low, high, gap) in enumerate(zip(rows["honest"], rows["leaky"], rows["gap"], strict=True)):
        axes.annotate(f"{gap:+.3f}", ((low + high) / 2, height - 0.26), ha="center", va="bottom", fontsize="small")
    axes.set_xlabel(f"{metric} on the same test images")
    panel_title(axes, "Two train parts of the same size, one test set")
    _legend(axes)


def _gaps(axes: Any, demo: "LeakageDemo", heads: list[str]) -> None:
    share = 100 * demo.sibling_share
    kinds = (
        ("sibling", LEAKY, "D", f"another photograph in train ({share:.0f} % of the test images)"),
        ("no sibling", REST, "s", f"none in train ({100 - share:.0f} %)"),
    )
    for number, (images, colour, marker, label) in enumerate(kinds):
        rows = demo.rows(images)
        heights = np.array([heads.index(head) for head in rows["head"]]) + 0.24 * number - 0.12
        _dots(axes, heights, rows, "gap", colour, marker, label)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"{demo.metric}: leaky less honest")
    panel_title(axes, "The difference, by kind of test image")
    _legend(axes)


def _dots(axes: Any, heights: np.ndarray, rows: pd.DataFrame, value: str, colour: str, marker: str, label: str) -> None:
    """Points with the intervals `<value>_low, <value>_high`."""
    middle = rows[value].to_numpy(np.float64)
    reach = [middle - rows[f"{value}_low"].to_numpy(np.float64), rows[f"{value}_high"].to_numpy(np.float64) - middle]
    style = {"markersize": 7, "elinewidth": 1.3, "capsize": 2.5, "zorder": 2}
    axes.errorbar(middle, heights, xerr=np.clip(reach, 0, None), fmt=marker, color=colour, label=label, **style)


def _legend(axes: Any) -> None:
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    inches = axes.figure.get_figheight() - 1.5  # of the axes, about: the legend stands at one distance below them
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / inches), frameon=False, fontsize="small")
