"""ROC and precision-recall curves: a class's probability ranks its images above the others."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hamcache.heads.metrics import SPECIFICITIES
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.parts import DASHES, INK, Shown, shown_classes, shown_parts, title_of
from hamcache.pipeline.show.plots.style import panel_title, titled

_SIDE = 4.6
_SHORT = 8  # letters


def ranked(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images called positive as the threshold falls: right ones and wrong ones, from none to all.

    Args:
        truth: bool `[n]`.
        score: float `[n]`; images of equal score are called together.

    Returns:
        int64 `[k]` each, the first 0.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])  # the last image of each score
    hits = np.cumsum(truth[order])[last]
    return np.r_[0, hits], np.r_[0, last + 1 - hits]


def average_precision(hits: np.ndarray, misses: np.ndarray) -> float:
    """Area under the precision-recall curve as a sum of steps, from what `ranked` gave; NaN without positives."""
    if hits[-1] == 0:
        return float("nan")
    precision = hits[1:] / (hits[1:] + misses[1:])
    return float(np.sum(np.diff(hits) / hits[-1] * precision))


def roc_figure(run: Run) -> Figure:
    """A panel a part, a curve a class against all others; circles mark the chosen thresholds of the positive class."""
    figure, panels, codes = _panels(run)
    for axes, below, part in panels:
        for number, code in enumerate(codes):
            hits, misses = ranked(part.y == code, part.proba[:, code])
            if not hits[-1] or not misses[-1]:
                continue
            label = f"{run.classes[code]}: AUC {part.scores.get(f'auc_{run.classes[code]}', np.nan):.3f}"
            axes.plot(misses / misses[-1], hits / hits[-1], label=label, **_look(number))
        axes.plot([0, 1], [0, 1], color="#666666", linestyle=(0, (1, 2)), linewidth=1)
        _mark_thresholds(axes, run, part)
        _finish(axes, below, run, part, "1 - specificity (false positive rate)", "sensitivity (true positive rate)")
    titled(figure, title_of(run, "ROC: each class against all others", codes))
    return figure


def precision_recall_figure(run: Run) -> Figure:
    """A panel a part, a curve a class; beside the average precision stands the class's share, which guessing scores."""
    figure, panels, codes = _panels(run)
    for axes, below, part in panels:
        for number, code in enumerate(codes):
            hits, misses = ranked(part.y == code, part.proba[:, code])
            if not hits[-1]:
                continue
            precision = hits[1:] / (hits[1:] + misses[1:])
            recall = hits[1:] / hits[-1]
            share = hits[-1] / len(part.y)
            label = f"{run.classes[code]}: AP {average_precision(hits, misses):.3f} (share {share:.3f})"
            axes.step(np.r_[0, recall], np.r_[precision[0], precision], where="pre", label=label, **_look(number))
        _finish(axes, below, run, part, "recall (sensitivity)", "precision")
    titled(figure, title_of(run, "Precision by recall: each class against all others", codes))
    return figure


def _panels(run: Run) -> tuple[Figure, list[tuple[Any, Any, Shown]], list[int]]:
    """The figure; of each part its axes, those of its legend below, and itself; and the classes that are drawn."""
    parts = shown_parts(run)
    codes = shown_classes(run, parts)
    legend = 0.1 + 0.19 * -(-(len(codes) + len(SPECIFICITIES)) // _columns(run))  # inches
    figure = Figure(figsize=((_SIDE + 0.4) * len(parts), _SIDE + 1 + legend), layout="constrained")
    above, below = figure.subplots(2, len(parts), squeeze=False, height_ratios=(_SIDE, legend))
    return figure, list(zip(above, below, parts, strict=True)), codes


def _columns(run: Run) -> int:
    """Columns of the legend: names beyond the shortest need the whole width."""
    return 2 if max(map(len, run.classes)) <= _SHORT else 1


def _look(number: int) -> dict[str, Any]:
    """Colour and dashes of the n-th class: neighbours differ in both, so that no one needs the colour."""
    return {"color": INK[number % len(INK)], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.6}


def _mark_thresholds(axes: Any, run: Run, part: Shown) -> None:
    """The thresholds that validation chose, where they lie on this part."""
    positive = run.provenance.get("positive")
    for number, specificity in enumerate(SPECIFICITIES):
        at = f"at_{round(100 * specificity)}"
        found = [part.scores.get(f"{positive}_{kind}_{at}") for kind in ("specificity", "sensitivity")]
        if None not in found:
            axes.plot(
                1 - found[0],  # type: ignore[operator]
                found[1],
                marker="os"[number % 2],
                markersize=8,
                markerfacecolor="none",
                markeredgecolor="black",
                linestyle="none",
                label=f"{positive}, threshold for {specificity:.0%} specificity: {found[1]:.3f}",
            )


def _finish(axes: Any, below: Any, run: Run, part: Shown, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    panel_title(axes, part.words)
    axes.grid(alpha=0.3)
    below.axis("off")
    handles, labels = axes.get_legend_handles_labels()
    look = {"frameon": False, "fontsize": 8, "ncols": _columns(run), "columnspacing": 1, "handlelength": 1.9}
    legend = below.legend(handles, labels, loc="upper left", borderaxespad=0, **look)
    legend.set_in_layout(False)  # as wide as the axes: it must not narrow them
    for text in legend.get_texts():
        text.set_parse_math(False)
