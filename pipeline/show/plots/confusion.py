"""Confusion matrices: how many images of each class were given which class."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hamcache.heads.scored import divide, scored
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.parts import shown_parts, title_of
from hamcache.pipeline.show.plots.style import panel_title, titled

MOST_NUMBERS = 20  # classes: in a larger matrix numbers could not be read


def confusion_figure(run: Run) -> Figure:
    """Counts left, shares of the true class right; a row of both a part.

    Counts are coloured by their square root, or the frequent classes would leave the others white.
    """
    parts, classes = shown_parts(run), list(run.classes)
    side = max(3.4, 0.55 * min(len(classes), MOST_NUMBERS) + 1.2)
    figure = Figure(figsize=(2 * side + 1.2, len(parts) * side + 0.6), layout="constrained")
    for row, part in zip(figure.subplots(len(parts), 2, squeeze=False), parts, strict=True):
        counts = scored(part.y, part.proba).confusion[0]
        shares = divide(counts, counts.sum(axis=1, keepdims=True), otherwise=np.nan)
        _matrix(row[0], np.sqrt(counts), [[f"{n:,.0f}" for n in line] for line in counts], classes)
        _matrix(row[1], shares, [["" if np.isnan(s) else f"{s:.2f}" for s in line] for line in shares], classes, top=1)
        panel_title(row[0], f"{part.words}")
        panel_title(row[1], "as shares of the true class")
    titled(figure, title_of(run, "Confusion: true class by predicted class"))
    return figure


def _matrix(
    axes: Any, values: np.ndarray, words: list[list[str]], classes: list[str], top: float | None = None
) -> None:
    """One matrix: darker is more; the diagonal, which is right, is framed."""
    most = top or max(float(np.nanmax(values)), 1.0)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=most, interpolation="none")  # in an SVG: a pixel a cell
    size = 10 if len(classes) <= 10 else 6
    if len(classes) <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            colour = "white" if value > 0.55 * most else "black"
            weight = "bold" if i == j else "normal"
            text = axes.text(
                j, i, words[i][j], ha="center", va="center", color=colour, fontsize=size, fontweight=weight
            )
            text.set_in_layout(False)  # inside its cell: measuring it would cost more than drawing it
            if i == j:
                axes.plot(
                    [j - 0.48, j + 0.48, j + 0.48, j - 0.48, j - 0.48],
                    [i - 0.48, i - 0.48, i + 0.48, i + 0.48, i - 0.48],
                    color="#333333",
                    linewidth=0.8,
                )
    small = size if len(classes) <= MOST_NUMBERS else 4
    axes.set_xticks(range(len(classes)), classes, rotation=90 if len(classes) > 10 else 45, fontsize=small)
    axes.set_yticks(range(len(classes)), classes, fontsize=small)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    axes.set(xlabel="predicted class", ylabel="true class")
