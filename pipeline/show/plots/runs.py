"""The pictures of one run, in its folder."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from hamcache.pipeline.runs.records import Run, plots_folder
from hamcache.pipeline.show.plots.classes import classes_figure
from hamcache.pipeline.show.plots.confusion import confusion_figure
from hamcache.pipeline.show.plots.epochs import curves_figure
from hamcache.pipeline.show.plots.ranking import precision_recall_figure, roc_figure
from hamcache.pipeline.show.plots.reliability import reliability_figure
from hamcache.pipeline.show.plots.style import save_figure

FIGURES: dict[str, Callable[[Run], Figure | None]] = {
    "curves": curves_figure,
    "confusion": confusion_figure,
    "roc": roc_figure,
    "precision_recall": precision_recall_figure,
    "reliability": reliability_figure,
    "classes": classes_figure,
}
"""What is drawn, by the name of its file."""


def plot_run(run: Run) -> list[Path]:
    """Draw a run into `plots/` in its folder; pictures that are there are replaced.

    Args:
        run: A run whose files are written; it may still lie in its hidden folder.

    Returns:
        The PNGs, in the order of `FIGURES`; `curves.png` only for what was trained in epochs.
    """
    folder = plots_folder(run.folder)
    folder.mkdir(exist_ok=True)
    drawn = []
    for name, figure_of in FIGURES.items():
        figure = figure_of(run)
        if figure is not None:
            drawn.append(folder / f"{name}.png")
            save_figure(figure, drawn[-1])
    return drawn


def lacks_plots(run: Run) -> bool:
    """Whether a picture of the run is missing."""
    wanted = {name for name in FIGURES if name != "curves" or not run.history.empty}
    return not wanted <= {path.stem for path in run.plots}
