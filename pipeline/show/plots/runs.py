"""The pictures of runs, in their folders."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import joblib
from matplotlib.figure import Figure

from hamcache.pipeline.runs.records import Run, plots_folder, read_run
from hamcache.pipeline.show.plots.classes import classes_figure
from hamcache.pipeline.show.plots.confusion import confusion_figure
from hamcache.pipeline.show.plots.epochs import curves_figure
from hamcache.pipeline.show.plots.ranking import precision_recall_figure, roc_figure
from hamcache.pipeline.show.plots.reliability import reliability_figure
from hamcache.pipeline.show.plots.style import save_figure
from hamcache.pipeline.show.plots.svg import as_svg
from hamcache.pipeline.studies.parallel import in_processes

FIGURES: dict[str, Callable[[Run], Figure | None]] = {
    "curves": curves_figure,
    "confusion": confusion_figure,
    "roc": roc_figure,
    "precision_recall": precision_recall_figure,
    "reliability": reliability_figure,
    "classes": classes_figure,
}
"""Functions that draw a run, by the name of their file."""
CAPTIONS = {
    "confusion": "Confusion",
    "roc": "ROC curves",
    "precision_recall": "Precision and recall",
    "reliability": "Reliability",
    "classes": "Classes",
    "curves": "Training",
}
"""Names for people, in the order of a page."""
FEW = 4
"""So few runs are drawn before further processes have started."""


def plot_run(run: Run) -> list[Path]:
    """Draw a run into `plots/` in its folder, as PNG and SVG; pictures that are there are replaced.

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
            save_figure(figure, drawn[-1], vector=True)
    return drawn


def draw_runs(runs: Sequence[Run], workers: int | None = None) -> Iterator[tuple[Run, list[Path] | Exception]]:
    """Draw several runs (see `plot_run`), in parallel processes where it pays.

    Args:
        runs: Finished runs.
        workers: Processes at a time (default: one per core, or this process alone for few runs).

    Yields:
        Each run as it is done, with its PNGs, or with the error that left it without.
    """
    for number, drawn in in_processes(_plot, [run.folder for run in runs], _workers(runs, workers)):
        yield runs[number], drawn


def pictures_of(runs: Sequence[Run], workers: int | None = None) -> Iterator[tuple[Run, dict[str, str] | Exception]]:
    """The pictures of runs as SVG: those in their folders, or, where one is missing, drawn now.

    What is drawn now stays in the run's folder, if that can be written.

    Yields:
        Each run with its SVGs by the names of `CAPTIONS`, in their order, or with the error that left it without.
    """
    absent = [run for run in runs if lacks_plots(run)]
    for run in runs:
        if run not in absent:
            yield run, _read(run)
    for number, found in in_processes(_pictures, [run.folder for run in absent], _workers(absent, workers)):
        yield absent[number], found


def lacks_plots(run: Run) -> bool:
    """Whether a picture of the run is missing, as PNG or as SVG."""
    wanted = {name for name in FIGURES if name != "curves" or not run.history.empty}
    there = {path.name for path in plots_folder(run.folder).glob("[!.]*.*")}
    return not {f"{name}.{kind}" for name in wanted for kind in ("png", "svg")} <= there


def _workers(runs: Sequence[Run], workers: int | None) -> int:
    return workers or (1 if len(runs) < FEW else joblib.cpu_count())


def _plot(folder: Path) -> list[Path]:
    return plot_run(read_run(folder))


def _pictures(folder: Path) -> dict[str, str]:
    run = read_run(folder)
    try:
        plot_run(run)
    except OSError:  # a workspace that is not ours to write
        figures = ((name, FIGURES[name](run)) for name in CAPTIONS)
        return {name: as_svg(figure) for name, figure in figures if figure is not None}
    return _read(run)


def _read(run: Run) -> dict[str, str]:
    paths = {name: plots_folder(run.folder) / f"{name}.svg" for name in CAPTIONS}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}
