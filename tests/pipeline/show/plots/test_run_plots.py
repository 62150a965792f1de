"""The pictures of runs: what they show is checked on their figures, and that they are drawn on the way of every run."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve
from typer.testing import CliRunner

from hamcache.heads.metrics import ECE_BINS
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.cli.pictures import draw_pictures
from hamcache.pipeline.evaluate.intervals import bootstrap
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import all_runs, read_run
from hamcache.pipeline.show.plots.classes import class_scores, classes_figure
from hamcache.pipeline.show.plots.confusion import confusion_figure
from hamcache.pipeline.show.plots.epochs import curves_figure
from hamcache.pipeline.show.plots.parts import MOST_CLASSES, Shown, shown_classes, shown_parts
from hamcache.pipeline.show.plots.ranking import average_precision, precision_recall_figure, ranked, roc_figure
from hamcache.pipeline.show.plots.reliability import reliability_table
from hamcache.pipeline.show.plots.runs import CAPTIONS, FIGURES, draw_runs, lacks_plots, pictures_of, plot_run
from tests.pipeline.conftest import without_checksums

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def runs(make_world):
    """A head without epochs whose test set was opened, and one with epochs, without it."""
    world = make_world()
    world.extract()
    opened = run_experiment(world.config(), world.workspace, test=True)
    epochs = run_experiment(world.config(base={"head": "mlp"}), world.workspace)
    return {"logreg": opened, "mlp": epochs, "workspace": world.workspace}


def test_a_run_is_drawn_when_it_is_finished(world) -> None:
    world.extract()
    run = run_experiment(world.config(base={"head": "mlp"}), world.workspace)
    assert run.plots == []
    draw_pictures([run])
    assert {path.name: path.read_bytes()[:8] for path in run.plots} == {f"{name}.png": PNG for name in FIGURES}


def test_only_heads_with_epochs_have_curves(world) -> None:
    world.extract()
    run = run_experiment(world.config(), world.workspace)
    draw_pictures([run])
    assert [path.stem for path in run.plots] == sorted(set(FIGURES) - {"curves"})
    assert not lacks_plots(run)
    assert curves_figure(run) is None
    written = {path.name for path in (run.folder / "plots").iterdir()}
    assert written == {f"{path.stem}.{kind}" for path in run.plots for kind in ("png", "svg")}


def test_a_failure_to_draw_costs_no_run(world, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    world.extract()

    def broken(run: object) -> None:
        raise MemoryError("no room for a picture")

    monkeypatch.setitem(FIGURES, "reliability", broken)
    run = run_experiment(world.config(), world.workspace)
    draw_pictures([run])
    said = capsys.readouterr().err
    assert f"warning: the plots of {run.id} were not drawn: MemoryError: no room for a picture" in said
    assert run.metrics["validation"]["mcc"] > 0 and [one.id for one in all_runs(world.workspace)] == [run.id]
    assert lacks_plots(run)


def test_drawing_is_no_part_of_what_a_run_is(world) -> None:
    world.extract()
    run = run_experiment(world.config(), world.workspace)
    assert run.plots == [] and lacks_plots(run)
    again = run_experiment(world.config(), world.workspace)
    assert again.reused and again.id == run.id and again.plots == []


@pytest.mark.parametrize("levels", [0, 5])
def test_curves_are_scikit_learns(levels: int) -> None:
    rng = np.random.default_rng(3)
    truth, score = rng.random(200) < 0.3, rng.random(200)
    if levels:
        score = np.round(score * levels) / levels
    hits, misses = ranked(truth, score)
    fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
    np.testing.assert_allclose(misses / misses[-1], fpr)
    np.testing.assert_allclose(hits / hits[-1], tpr)
    precision, recall, _ = precision_recall_curve(truth, score)
    np.testing.assert_allclose((hits[1:] / (hits[1:] + misses[1:]))[::-1], precision[:-1])
    np.testing.assert_allclose((hits / hits[-1])[::-1], recall)
    assert average_precision(hits, misses) == pytest.approx(average_precision_score(truth, score))
    assert np.isnan(average_precision(*ranked(np.zeros(3, dtype=bool), np.arange(3.0))))


def test_ranking_pictures_show_every_class_of_both_parts_with_the_runs_own_auc(runs) -> None:
    run = runs["logreg"]
    roc, recall = roc_figure(run), precision_recall_figure(run)
    for number, part in enumerate(("validation", "test")):
        axes, legend = roc.axes[number], roc.axes[number + 2].get_legend()
        assert axes.get_title(loc="left").startswith(part)
        labels = [text.get_text() for text in legend.get_texts()]
        assert labels[:3] == [f"{c}: AUC {run.metrics[part][f'auc_{c}']:.3f}" for c in run.classes]
        for line, label in zip(axes.lines, run.classes, strict=False):
            area = np.trapezoid(line.get_ydata(), line.get_xdata())
            assert area == pytest.approx(run.metrics[part][f"auc_{label}"])
        marks = [line for line in axes.lines if line.get_marker() in ("o", "s")]
        assert [line.get_ydata()[0] for line in marks] == [
            run.metrics[part][f"mel_sensitivity_at_{at}"] for at in (90, 95)
        ]
        assert len(recall.axes[number].lines) == len(run.classes)


def test_confusion_shows_counts_and_shares_of_both_parts(runs) -> None:
    run = runs["logreg"]
    figure = confusion_figure(run)
    for number, part in enumerate(("validation", "test")):
        guess = run.probabilities(part).argmax(axis=1)
        counts = pd.crosstab(run.labels(part), guess).reindex(index=range(3), columns=range(3), fill_value=0)
        left, right = figure.axes[2 * number : 2 * number + 2]
        assert [int(t.get_text()) for t in left.texts] == list(counts.to_numpy().ravel())
        shares = counts.div(counts.sum(axis=1), axis=0).to_numpy().ravel()
        assert [t.get_text() for t in right.texts] == [f"{share:.2f}" for share in shares]
        assert left.get_ylabel() == "true class" and left.get_xlabel() == "predicted class"
        assert [t.get_text() for t in left.get_yticklabels()] == list(run.classes)


def test_bars_of_classes_are_the_bootstraps(runs) -> None:
    run = runs["logreg"]
    part = shown_parts(run)[0]
    table = class_scores(run, part, [0, 1, 2]).set_index(["class", "kind"])
    for name in ("sensitivity_mel", "auc_nv"):
        kind, _, label = name.partition("_")
        (wanted,) = bootstrap(part.y, part.proba, part.groups, [name], classes=run.classes)
        assert tuple(table.loc[(label, kind), ["value", "low", "high"]]) == (wanted.value, wanted.low, wanted.high)
        assert wanted.value == pytest.approx(run.metrics["validation"][name])
    figure = classes_figure(run)
    assert [axes.get_xlabel() for axes in figure.axes] == ["sensitivity", "specificity", "AUC"]
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    parts = ("validation", "test")
    assert widths == pytest.approx([run.metrics[part][f"sensitivity_{c}"] for part in parts for c in run.classes])


def test_reliability_gaps_add_up_to_the_calibration_error(runs) -> None:
    for part in shown_parts(runs["logreg"]):
        table = reliability_table(part)
        gap = (table["images"] * (table["accuracy"] - table["confidence"]).abs()).sum() / table["images"].sum()
        assert gap == pytest.approx(part.scores["ece"]) and table["images"].sum() == len(part.y)
        assert (table["low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["high"]).all()
        assert table["bin"].between(0, ECE_BINS - 1).all()


def test_curves_mark_the_epoch_that_was_kept(runs) -> None:
    run = runs["mlp"]
    loss, mcc = curves_figure(run).axes
    best = int(run.history["epoch"][run.history["valid_mcc"].idxmax()])
    assert (loss.get_ylabel(), mcc.get_ylabel()) == ("loss", "mcc")
    for axes in (loss, mcc):
        assert f"best mcc: epoch {best}" in [line.get_label() for line in axes.lines]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), run.history["train_loss"])
    assert run.metrics["validation"]["mcc"] == pytest.approx(run.history["valid_mcc"].max())


def rewritten(run, tmp_path: Path, history: pd.DataFrame):
    """A copy of a run with another history."""
    folder = tmp_path / "copy"
    without_checksums(Path(shutil.copytree(run.folder, folder)))
    history.to_csv(folder / "history.csv", index=False)
    return read_run(folder)


def test_phases_are_named_and_folds_are_lines_of_one_colour(runs, tmp_path: Path) -> None:
    epochs = range(1, 6)
    rows = [
        {"fold": f, "epoch": e, "phase": "head" if e < 3 else "tuning", "train_loss": 1 / e, "valid_mcc": e * f / 20}
        for f in (1, 2)
        for e in epochs
    ]
    loss, mcc = curves_figure(rewritten(runs["mlp"], tmp_path, pd.DataFrame(rows))).axes
    assert [text.get_text() for text in mcc.texts] == ["head", "tuning"]
    lines = [line for line in mcc.lines if len(line.get_xdata()) == 5]
    assert len(lines) == 2 and len({line.get_color() for line in lines}) == 1
    assert lines[0].get_label() == "validation (2 folds)"
    assert len([line for line in loss.lines if len(line.get_xdata()) == 5]) == 2


def test_losses_are_drawn_with_their_own_sign(world, tmp_path: Path) -> None:
    world.extract()
    run = run_experiment(world.config("head.objective=nll", base={"head": "mlp"}), world.workspace)
    assert (run.history["valid_nll"] < 0).all()  # kept so that higher is better
    axes = curves_figure(run).axes[1]
    assert axes.get_ylabel() == "nll" and (axes.lines[0].get_ydata() > 0).all()
    best = int(run.history["epoch"][run.history["valid_nll"].idxmax()])
    assert f"best nll: epoch {best}" in [line.get_label() for line in axes.lines]
    assert axes.lines[0].get_ydata()[best - 1] == pytest.approx(run.metrics["validation"]["nll"])


def test_of_many_classes_the_frequent_ones_are_drawn(runs) -> None:
    classes = tuple(f"k{n}" for n in range(MOST_CLASSES + 4))
    y = np.repeat(np.arange(len(classes)), np.arange(1, len(classes) + 1))
    part = Shown("validation", y, np.full((len(y), len(classes)), 1 / len(classes)), y, {})
    run = type("Run", (), {"classes": classes})()
    assert shown_classes(run, [part]) == list(range(4, len(classes)))


def test_names_that_look_like_formulas_are_drawn_as_they_are(world, tmp_path: Path, capsys) -> None:
    csv = world.csv.read_text().replace(",mel,", ",$\\frac{,").replace(",nv,", ",a very long name of a class <b>,")
    (world.csv.parent / "odd.csv").write_text(csv)
    odd = type(world)(world.workspace, world.csv.parent / "odd.csv")
    odd.extract()
    run = run_experiment(odd.config(), world.workspace, test=True)
    draw_pictures([run])
    assert "warning" not in capsys.readouterr().err and len(run.plots) == 5


def test_the_command_draws_what_lacks_plots_and_tells_of_a_damaged_run(world, plots) -> None:
    world.extract()
    first = run_experiment(world.config(), world.workspace)
    second = run_experiment(world.config("seed=1"), world.workspace)
    predictions = (second.folder / "predictions.csv").read_text()
    (second.folder / "predictions.csv").write_text("image_id\n")
    words = ["runs", "plot", "--workspace", str(world.workspace)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and f"{second.id}: FAILED" in result.output
    assert "Drew 1 of 2 runs." in result.output and not lacks_plots(first)
    (second.folder / "predictions.csv").write_text(predictions)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "Drew 1 of 1 runs." in result.output and first.id not in result.output
    assert "Every run has its plots." in CliRunner().invoke(app, words).output
    before = first.plots[0].stat().st_mtime_ns
    assert CliRunner().invoke(app, [*words, first.id]).exit_code == 0
    assert first.plots[0].stat().st_mtime_ns > before


def test_pictures_are_the_same_each_time(runs) -> None:
    def written() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in plot_run(runs["logreg"])[0].parent.iterdir()}

    first = written()
    assert written() == first and len(first) == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_several_runs_are_drawn_and_a_damaged_one_costs_only_itself(runs, tmp_path: Path, workers: int) -> None:
    good, bad = (rewritten(runs[name], tmp_path / name, runs[name].history) for name in ("mlp", "logreg"))
    (bad.folder / "predictions.csv").write_text("image_id\n")
    for folder in (good.folder, bad.folder):
        shutil.rmtree(folder / "plots", ignore_errors=True)
    found = {run.folder: drawn for run, drawn in draw_runs([good, bad], workers)}
    assert sorted(found[good.folder]) == good.plots and not lacks_plots(good)
    assert isinstance(found[bad.folder], Exception) and bad.plots == []


def test_pictures_of_runs_are_those_in_their_folders_or_are_drawn(runs, tmp_path: Path) -> None:
    run = rewritten(runs["logreg"], tmp_path, runs["logreg"].history)
    shutil.rmtree(run.folder / "plots", ignore_errors=True)
    ((_, drawn),) = pictures_of([run])
    assert list(drawn) == [name for name in CAPTIONS if name != "curves"]
    assert {path.name for path in (run.folder / "plots").iterdir()} == {f"{name}.svg" for name in drawn}
    (run.folder / "plots" / "roc.svg").write_text("<svg>as it is</svg>")
    ((_, found),) = pictures_of([run])
    assert found == drawn | {"roc": "<svg>as it is</svg>"}
    shutil.rmtree(run.folder / "plots")
    (run.folder / "plots").write_text("a folder that cannot be written")
    ((_, alone),) = pictures_of([run])
    assert alone.keys() == drawn.keys() and all(text.startswith("<svg ") for text in alone.values())


def test_train_says_where_the_plots_are(world, plots) -> None:
    world.extract()
    words = ["train", "--dataset", str(world.csv), "--features", "net_a", "--workspace", str(world.workspace)]
    without = CliRunner().invoke(app, [*words, "--no-plots"])
    assert without.exit_code == 0, without.output
    (run,) = all_runs(world.workspace)
    assert f"Plots: none; draw them with `hamcache runs plot {run.id}`" in without.output
    drawn = CliRunner().invoke(app, [*words, "--force"])
    assert "plots drawn" in drawn.output and f"Plots: {all_runs(world.workspace)[-1].folder / 'plots'}" in drawn.output
