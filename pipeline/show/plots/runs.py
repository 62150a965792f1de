"""The pictures of runs, in their folders."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import joblib
from matplotlib.figure import Figure

from hamcache.data.files import write_text
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
    absent = [run for run in runs if not _names(run, "svg") <= _there(run)]
    for run in runs:
        if run not in absent:
            paths = {name: _svg(run, name) for name in CAPTIONS}
            yield run, {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}
    for number, drawn in in_processes(_pictures, [run.folder for run in absent], _workers(absent, workers)):
        yield absent[number], drawn


def lacks_plots(run: Run) -> bool:
    """Tell if a picture of the run is missing, as PNG or as SVG."""
    return not _names(run, "png") | _names(run, "svg") <= _there(run)


def _names(run: Run, kind: str) -> set[str]:
    return {f"{name}.{kind}" for name in FIGURES if name != "curves" or not run.history.empty}


def _there(run: Run) -> set[str]:
    return {path.name for path in plots_folder(run.folder).glob("*")}


def _svg(run: Run, name: str) -> Path:
    return plots_folder(run.folder) / f"{name}.svg"


def _workers(runs: Sequence[Run], workers: int | None) -> int:
    return workers or (1 if len(runs) < FEW else joblib.cpu_count())


def _plot(folder: Path) -> list[Path]:
    return plot_run(read_run(folder))


def _pictures(folder: Path) -> dict[str, str]:
    run = read_run(folder)
    figures = ((name, FIGURES[name](run)) for name in CAPTIONS)
    drawn = {name: as_svg(figure) for name, figure in figures if figure is not None}
    with suppress(OSError):  # a workspace may be one to read only
        for name, text in drawn.items():
            write_text(_svg(run, name), text)
    return drawn
