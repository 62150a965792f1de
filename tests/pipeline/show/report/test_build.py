"""The command and the function: what is chosen, where the page goes, and what is said when it fails."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import compute_metrics
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import ArtefactNotFoundError
from hamcache.pipeline.runs.artefacts import new_folder
from hamcache.pipeline.runs.records import predictions_table, write_run
from hamcache.pipeline.show.plots.epochs import curves_figure
from hamcache.pipeline.show.plots.style import COLOURS
from hamcache.pipeline.show.report.build import ReportSettings, build_report
from hamcache.pipeline.show.report.choose import choose
from hamcache.pipeline.show.web.run_view import RunView
from hamcache.pipeline.studies.sweeps.results import all_sweeps

WORDS = CliRunner()


def call(*words: str):
    return WORDS.invoke(app, ["report", *words])


def test_the_command_writes_one_page_of_everything_and_says_so(lab, own_lab) -> None:
    result = call("--workspace", str(own_lab.workspace), "--gallery", "1")
    assert result.exit_code == 0, result.output
    page = own_lab.workspace / "report.html"
    assert result.output.startswith(f"Wrote {page}: 6 runs, ") and "needs no network" in result.output
    text = page.read_text()
    assert all(run.id in text for run in own_lab.runs.values()) and all_sweeps(own_lab.workspace)[0].id in text
    assert page.stat().st_size < 1_500_000


def test_names_and_options_choose_what_the_page_shows(lab, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "page.html"
    one, other = lab.runs["a"].id, lab.runs["ab"].id
    words = [
        one,
        str(lab.runs["ab"].folder),
        "--out",
        str(out),
        "--metric",
        "sensitivity_mel",
        "--title",
        "Two of them",
    ]
    result = call(*words, "--gallery", "0", "--workspace", str(lab.workspace))
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert "2 of 2 runs" in text and f'data-id="{one}"' in text and f'data-id="{other}"' in text
    assert "<h1>Two of them</h1>" in text and "sensitivity mel" in text
    assert lab.runs["b"].id not in text and 'id="sweeps"' not in text
    assert "hamcache report " + one in text  # how to make the page again


def test_a_sweep_brings_the_run_that_it_ended_with(lab) -> None:
    (sweep,) = all_sweeps(lab.workspace)
    found = choose([sweep.id[:8]], lab.workspace)
    assert [one.id for one in found.sweeps] == [sweep.id]
    assert [run.id for run in found.runs] == [lab.runs["mlp"].id]


def test_the_test_set_is_shown_of_runs_that_opened_it_and_the_others_are_named(lab, tmp_path: Path) -> None:
    result = call("--part", "test", "--out", str(tmp_path / "t.html"), "--workspace", str(lab.workspace))
    assert result.exit_code == 0 and "1 run," in result.output
    assert result.output.count("Left out: ") == 5 or result.stderr.count("Left out: ") == 5
    text = (tmp_path / "t.html").read_text()
    assert "validation MCC" in text and f"{lab.runs['ab'].metrics['test']['mcc']:.3f}" in text
    assert "then scored here on the test set" in text


@pytest.mark.parametrize("metric", ["nll", "macro_auc", "auc_mel"])
def test_any_metric_can_lead(lab, tmp_path: Path, metric: str) -> None:
    assert "best run" in lab.report(tmp_path / "page.html", metric=metric, gallery=0)


def test_the_objective_of_the_runs_leads_unless_another_is_asked_for(own_lab, tmp_path: Path) -> None:
    for run in own_lab.runs.values():
        path = run.folder / "config.yaml"
        path.write_text(path.read_text().replace("objective: mcc", "objective: balanced_accuracy"))
    text = own_lab.report(tmp_path / "page.html", gallery=0)
    assert '<span class="unit">balanced accuracy</span>' in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--part", "train"], 2, "expected validation or test"),
        (["nosuchrun"], 1, "Expected the id of one run, sweep or grid"),
        (["logreg-net_a"], 1, "begin with it"),
        (["--metric", "mmc"], 1, "did you mean 'mcc'"),
    ],
)
def test_wrong_words_are_answered(lab, words: list[str], code: int, message: str) -> None:
    result = call(*words, "--workspace", str(lab.workspace), "--out", str(lab.workspace / "never.html"))
    said = result.output + str(result.exception)
    assert result.exit_code == code and message in " ".join(said.split())
    assert not (lab.workspace / "never.html").exists()


def test_an_empty_workspace_says_how_to_make_runs(workspace: Workspace) -> None:
    with pytest.raises(ArtefactNotFoundError, match="hamcache train"):
        build_report((), workspace)


def test_an_old_page_stays_where_a_new_one_cannot_be_made(own_lab) -> None:
    page = own_lab.workspace / "report.html"
    page.write_text("old")
    with pytest.raises(ArtefactNotFoundError):
        build_report(["nothing"], own_lab.workspace)
    assert page.read_text() == "old"


def test_what_is_broken_costs_only_itself(own_lab, tmp_path: Path) -> None:
    (own_lab.runs["knn"].folder / "metrics.json").write_text("{")
    table = pd.read_csv(own_lab.runs["b"].folder / "predictions.csv")
    table["p_mel"] = np.nan
    table.to_csv(own_lab.runs["b"].folder / "predictions.csv", index=False)
    path = own_lab.runs["a"].folder / "provenance.json"
    path.write_text(path.read_text().replace('"stores": {', '"stores": 3, "was": {'))
    (trials,) = own_lab.workspace.path.glob("sweeps/*/trials.csv")
    trials.write_text(trials.read_text().replace("[16]", "[17]"))
    made = build_report((), own_lab.workspace, tmp_path / "page.html", ReportSettings(resamples=100, gallery=0))
    names = {own_lab.runs[name].id for name in ("knn", "b", "a")} | {trials.parent.name}
    assert set(made.left_out) == names and made.runs == 3
    assert all(name in (tmp_path / "page.html").read_text() for name in names)


def test_a_run_with_many_classes_and_folds_is_drawn(own_lab) -> None:
    """Thirty classes: a matrix without numbers, and the most frequent confusions; a line for each fold."""
    classes = {f"class{n:02d}": f"Class {n}" for n in range(30)}
    rng = np.random.default_rng(0)
    tables, metrics = [], {}
    for part in ("train", "validation"):
        y = rng.permutation(np.arange(300) % 30)
        proba = rng.dirichlet(np.ones(30), size=300)
        names = [f"{part}{n}" for n in range(300)]
        frame = pd.DataFrame({"image_id": names, "group": names, "label": [list(classes)[code] for code in y]})
        tables.append(predictions_table(frame, proba, list(classes), part))
        metrics[part] = compute_metrics(y, proba, list(classes))
    with new_folder(own_lab.workspace.runs) as folder:
        write_run(
            folder,
            config=own_lab.runs["a"].config,
            metrics=metrics,
            predictions=pd.concat(tables),
            history=[
                {"fold": f, "epoch": e, "train_loss": 1 / e, "valid_mcc": 0.1 * e} for f in (1, 2) for e in (1, 2)
            ],
            provenance=own_lab.runs["a"].provenance | {"images": {"train": 300, "validation": 300}},
            classes=classes,
        )
        folder.rename(own_lab.workspace / "runs" / "many")
    board = own_lab.board()
    row = board.of("many")
    assert len(RunView(row.run, "validation", {}).confusions) == 10
    (loss, _) = curves_figure(row.run).axes
    assert len([line for line in loss.lines if line.get_color() == COLOURS[0]]) == 2
    text = own_lab.report(own_lab.workspace / "page.html", "many")
    assert "The most frequent confusions: " in text
