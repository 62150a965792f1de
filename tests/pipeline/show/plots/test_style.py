"""Every picture keeps its titles inside its figure, whatever it is called; SVG is small and the same each time."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots import boards, grid, leakage, runs, style, sweeps
from hamcache.pipeline.show.plots.svg import as_svg
from hamcache.pipeline.studies.sweeps.results import read_sweep
from tests.pipeline.show.plots.test_sweep_plots import made

LONG = "a_backbone_with_a_very_long_name:stages:flip_rotate_colour x8+" * 3
WORDS = "A sentence about the picture that is longer than the picture is wide, which nobody should have to guess. "
SCORES = {"mcc": 0.5, "low": 0.4, "high": 0.6}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def savefig(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def titles(figure: Figure) -> list[Any]:
    """The texts above a figure, its axes and its legends."""
    found = [figure._suptitle, *(legend.get_title() for legend in figure.legends)]  # type: ignore[attr-defined]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, axes._right_title]  # type: ignore[attr-defined]
    return [text for text in found if text is not None and text.get_text()]


def assert_titles_fit(figures: list[Figure], least: int) -> None:
    """Titles, as they were laid out, end inside their figure and do not touch each other."""
    assert len(figures) == least
    for figure in figures:
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes = [text.get_window_extent(renderer) for text in titles(figure)]
        assert boxes
        for number, box in enumerate(boxes):
            assert box.x0 >= 0 and box.y0 >= 0
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[number + 1 :])


@pytest.fixture(scope="module")
def long_run(make_world: Any) -> Run:
    """A run with epochs and an open test set, whose names are long."""
    from hamcache.pipeline.experiment.runner import run_experiment

    world = make_world()
    world.extract()
    run = run_experiment(world.config(base={"head": "mlp"}), world.workspace, test=True)
    summary = {"head": "a_head_of_ones_own", "features": LONG, "dataset": "my " * 30, "seed": 0}
    return replace(run, provenance=run.provenance | {"summary": summary})


def test_titles_of_runs_fit(long_run: Run, drawn: list[Figure]) -> None:
    runs.plot_run(long_run)
    assert_titles_fit([figure for figure in drawn if drawn.count(figure) == 2][::2], len(runs.FIGURES))


def test_titles_of_sweeps_fit(sweep_of: Any, workspace: Path, drawn: list[Figure]) -> None:
    folder = made(sweep_of, workspace).folder
    sweep = read_sweep(folder.rename(folder.with_name("a-name-of-a-sweep-" * 12)))
    sweeps.plot_sweep(sweep)
    assert_titles_fit(drawn, 3)


def test_titles_of_boards_fit(drawn: list[Figure], tmp_path: Path) -> None:
    board = pd.DataFrame([{"head": head, "features": "net_a", **SCORES} for head in ("knn", "lda")])
    boards.plot_zoo(board, "mcc", 0.0, tmp_path / "zoo.png", WORDS * 2 + LONG)
    adds = pd.DataFrame([{"backbone": "net_a", "adds": 0.1, "low": 0.0, "high": 0.2}])
    boards.plot_hybrids(board, adds, "mcc", 0.0, tmp_path / "hybrids.png", WORDS * 2 + LONG)
    assert_titles_fit(drawn, 2)


@pytest.mark.parametrize("augmentations", [["none"], ["none", "flip", "colour", "blur"]])
def test_titles_of_grids_fit(augmentations: list[str], drawn: list[Figure], tmp_path: Path) -> None:
    def matrix(part: str, value: str = "score", means: bool = False) -> pd.DataFrame:
        names = [["net_a", "net_b", "mean"], [*augmentations, "mean"]] if means else [["net_a", "net_b"], augmentations]
        return pd.DataFrame(0.5, *names)

    about = {"majority": {"validation": 0.1}, "views": dict.fromkeys(augmentations, 4), "seeds": [0, 1]}
    made_of = {"backbones": ["net_a", "net_b"], "augmentations": augmentations, "parts": ["validation"]}
    picture: Any = SimpleNamespace(
        **made_of,
        metric="mcc",
        head="logreg",
        best=("net_a", "none"),
        settings={**about, "dataset": "my " * 40, "policy": "one_per_lesion"},
        matrix=matrix,
        apart=lambda part: 2,
    )
    grid.plot_grid(picture, tmp_path / "grid.png")
    assert_titles_fit(drawn, 1)


def test_titles_of_leakage_fit(drawn: list[Figure], tmp_path: Path) -> None:
    ends = [f"{name}{end}" for name in ("honest", "leaky", "gap") for end in ("", "_low", "_high")]
    rows = pd.DataFrame([{"head": head, **dict.fromkeys(ends, 0.5)} for head in ("knn", "lda")])
    summary = {"dataset": "my " * 40, "features": LONG, "seeds": [0, 1]}
    demo: Any = SimpleNamespace(rows=lambda images="all": rows, metric="mcc", summary=summary, sibling_share=0.4)
    leakage.plot_leakage(demo, tmp_path / "leakage.png")
    assert_titles_fit(drawn, 1)


def test_a_title_breaks_between_words_and_keeps_every_letter() -> None:
    lines = style.fitted(f"{WORDS}\nnext {LONG}", 3.0, 11).split("\n")
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", f"{WORDS}next {LONG}")
    assert lines[0] == "A sentence about the picture that is" and "next" in lines and len(lines) > 8
    assert style.fitted("short", 3.0, 11) == "short" and style.fitted("", 3.0, 11) == ""


def test_svg_is_small_the_same_each_time_and_holds_its_texts(long_run: Run) -> None:
    assert long_run.provenance["summary"]["head"] == "a_head_of_ones_own"
    for name, figure_of in runs.FIGURES.items():
        text = as_svg(figure_of(long_run))  # type: ignore[arg-type]
        assert text == as_svg(figure_of(long_run)), name  # type: ignore[arg-type]
        assert (
            text.startswith("<svg ") and len(text) < 25_000 and not re.search(r"<(metadata|script)|20\d\d-\d\d", text)
        )
        assert text.count("a_head_of_ones_own") == 1
        assert {*re.findall(r"#(i\d+)", text)} == {*re.findall(r'id="(\w+)"', text)}
        assert {*re.findall(r'class="(\w+)"', text)} <= {*re.findall(r"\.(l\d+)\{", text)}


def test_svg_draws_what_matplotlib_draws() -> None:
    figure = Figure(figsize=(3, 2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0.0, 1.0, 2.0], [0.0, 1.0, -1.0], marker="o", label="<line> & more")
    axes.imshow(np.eye(2), interpolation="none", aspect="auto", extent=(0, 1, 0, 1))
    axes.legend()
    text = as_svg(figure)
    assert "&lt;line&gt; &amp; more" in text and 'href="data:image/png;base64,' in text
    assert text.count("<use") >= 3 and not re.search(r"\d\.\d\d", text.partition("</style>")[2].partition("data:")[0])
