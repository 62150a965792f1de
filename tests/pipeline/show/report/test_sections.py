"""What stands in the sections: hybrids taken apart, the Pareto front, details, sweeps, grids, data, provenance."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.show.report.board import make_board
from hamcache.pipeline.show.report.build import ReportSettings, build_report
from hamcache.pipeline.show.report.contributions import contributions
from hamcache.pipeline.show.report.cost import costs, pareto
from hamcache.pipeline.show.report.datasets import Datasets, describe
from hamcache.pipeline.show.report.origins import origins
from hamcache.pipeline.show.report.subgroup_views import subgroup_views
from hamcache.pipeline.show.report.sweeps import sweep_views
from hamcache.pipeline.show.web.run_view import RunView
from hamcache.pipeline.studies.hybrids import what_each_adds
from hamcache.pipeline.studies.sweeps.importance import importances
from hamcache.pipeline.studies.sweeps.results import all_sweeps
from tests.pipeline.show.report.conftest import FEW


def test_a_hybrid_is_taken_apart_where_the_runs_without_a_backbone_are_here(lab, board) -> None:
    (found,) = contributions(board, resamples=200)
    assert found.row.run.id == lab.runs["ab"].id  # the mlp has no run on one backbone, and is no hybrid of its own here
    assert {name: row.run.id for name, row in found.without.items()} == {
        "net_a": lab.runs["b"].id,
        "net_b": lab.runs["a"].id,
    }
    runs = {"net_a+net_b": lab.runs["ab"], "net_a": lab.runs["a"], "net_b": lab.runs["b"]}
    expected = what_each_adds(runs, ["net_a", "net_b"], "mcc", resamples=200)
    assert found.adds.equals(expected)


def test_runs_of_other_settings_do_not_explain_a_hybrid(own_lab) -> None:
    """The run without net_b has another C: the difference would not be what net_b adds."""
    path = own_lab.runs["a"].folder / "config.yaml"
    path.write_text(path.read_text().replace("C: ", "C: 1"))
    (found,) = contributions(own_lab.board(), resamples=200)
    assert list(found.without) == ["net_a"]


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(-1, 1)), min_size=1, max_size=25), st.booleans())
def test_no_run_beats_one_on_the_pareto_front_and_one_there_matches_each_other(board, points, higher) -> None:
    rows = [replace(board.rows[0], seconds=s, value=v) for s, v in points]
    front = pareto(rows, METRICS["mcc" if higher else "nll"])
    sign = 1 if higher else -1
    for row in front:
        assert not any(
            other.seconds <= row.seconds
            and sign * other.value >= sign * row.value
            and (other.seconds, other.value) != (row.seconds, row.value)
            for other in rows
        )
    for row in rows:
        assert any(one.seconds <= row.seconds and sign * one.value >= sign * row.value for one in front)
    assert [one.seconds for one in front] == sorted(one.seconds for one in front)


def test_every_run_and_every_sweep_with_a_run_is_in_the_cost_chart(lab, board) -> None:
    sweeps = all_sweeps(lab.workspace)
    (cost,) = costs(board, sweeps)
    for row in board.rows:
        assert f'href="#{row.anchor}"' in cost.chart
    (search,) = cost.searches
    assert search.seconds == pytest.approx(2 + 3 + 4 + 5) and search.row.run.id == lab.runs["mlp"].id


def test_class_scores_are_those_of_another_library(lab) -> None:
    run = lab.runs["a"]
    y, given = run.labels("validation"), run.probabilities("validation").argmax(axis=1)
    precision, recall, f1, images = precision_recall_fscore_support(y, given, labels=range(3))
    view = RunView(run, "validation", {})
    for code, one in enumerate(view.classes):
        assert (one.precision, one.sensitivity, one.f1) == pytest.approx((precision[code], recall[code], f1[code]))
        assert one.images == images[code] and one.auc == run.metrics["validation"][f"auc_{one.name}"]
        assert one.given == (given == code).sum()
    assert view.confusions == []  # the picture shows them


def test_the_confusions_of_many_classes_are_listed(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamcache.pipeline.show.web.run_view.MOST_NUMBERS", 2)
    run = lab.runs["a"]
    counts = confusion_matrix(run.labels("validation"), run.probabilities("validation").argmax(axis=1))
    np.fill_diagonal(counts, 0)
    found = RunView(run, "validation", {}).confusions
    assert [images for _, _, images in found] == sorted(counts[counts > 0], reverse=True)
    assert all(counts[run.classes.index(true), run.classes.index(given)] == images for true, given, images in found)


def test_details_hold_configuration_and_provenance(lab, board) -> None:
    run = lab.runs["ab"]
    found = RunView(run, "validation", {})
    assert found.parts == ["train", "validation", "test"] and "max_iter" in found.yaml
    provenance = dict(found.provenance)
    assert provenance["fingerprint"] == run.provenance["fingerprint"] and provenance["test set"] == "opened"
    assert set(run.provenance["stores"].values()) <= set(provenance.values())
    assert found.command.endswith(f"runs/{run.id}/config.yaml --test")


def test_a_sweep_shows_its_trials_its_best_and_its_failures(lab, board) -> None:
    (view,) = sweep_views(all_sweeps(lab.workspace), board)
    assert view.counts == {"finished": 2, "stopped early": 1, "failed": 1} and view.seconds == pytest.approx(14)
    assert view.best is not None and view.best.number == 3 and view.best.score == 0.6
    assert view.row is not None and view.row.run.id == lab.runs["mlp"].id
    assert view.keys == {"head.lr": True, "head.hidden": False}
    assert [one.error for one in view.trials if one.state == "failed"] == ["ValueError: expected a rate above 0"]
    assert view.trials[1].values == {"head.lr": "0.002", "head.hidden": "[16]"}
    assert [caption for caption, _ in view.figures] == ["Score by trial", "The values of each trial"]
    assert view.short == {"head.lr": "lr", "head.hidden": "hidden"}


def test_the_importance_of_values_is_shown_once_there_are_enough_trials(own_lab) -> None:
    (sweep,) = all_sweeps(own_lab.workspace)
    path = sweep.folder / "trials.csv"
    head, *rows = path.read_text().splitlines()
    more = [
        f"{n},finished,{0.1 * (n % 5)},5,1.0,,,{0.002 * (n % 5 + 1)},[{16 if n % 2 else ''}]" for n in range(10, 30)
    ]
    path.write_text("\n".join([head, *rows, *more]) + "\n")
    (view,) = sweep_views(all_sweeps(own_lab.workspace), own_lab.board())
    assert view.figures[-1][0] == "Which values decide the score"
    assert dict(importances(view.sweep)[["key", "importance"]].itertuples(index=False))["head.lr"] > 0.8
    assert "Which values decide the score" in own_lab.report(own_lab.workspace / "page.html", gallery=0)


def test_the_data_section_counts_images_lesions_and_parts(lab, board) -> None:
    (found,) = describe(board, Datasets(lab.workspace))
    rows = lab.csv.read_text().splitlines()[1:]
    assert found.summary is not None and found.summary.images == len(rows) and found.why == ""
    first, second = found.splits
    assert (first.seed, second.seed) == (0, 1) and list(first.counts.columns) == ["train", "validation", "test"]
    assert list(second.counts.columns) == ["train", "validation"]
    assert first.counts["validation"].sum() == board.cohorts[0].images


def test_splits_with_other_train_images_stand_apart(own_lab) -> None:
    """They are scored on the same images, and so are one group of the leaderboard, but were trained on more."""
    config = own_lab.runs["a"].config
    split = config.split.model_copy(update={"train_images": "all"})
    more = run_experiment(config.model_copy(update={"split": split}), own_lab.workspace)
    board = own_lab.board()
    assert board.of(more.id).cohort == board.of(own_lab.runs["a"].id).cohort
    (found,) = describe(board, Datasets(own_lab.workspace))
    assert len(found.splits) == 3 and (found.splits[0].policy, found.splits[0].runs) == ("one_per_lesion", 5)
    (wide,) = [one for one in found.splits if one.policy == "one_per_lesion, all images of the train lesions"]
    assert wide.counts["train"].sum() == len(more.part("train")) > found.splits[0].counts["train"].sum()


def test_a_data_set_that_is_gone_or_has_changed_is_said(own_lab) -> None:
    text = own_lab.csv.read_text()
    own_lab.csv.write_text(text.replace(",mel,", ",nv,", 1))
    (found,) = describe(own_lab.board(), Datasets(own_lab.workspace))
    assert "have changed" in found.why and found.summary is not None
    own_lab.csv.unlink()
    (found,) = describe(own_lab.board(), Datasets(own_lab.workspace))
    assert found.summary is None and "no data set" in found.why and len(found.splits) == 2


def test_the_synthetic_data_set_is_not_drawn_for_a_report(own_lab) -> None:
    for run in own_lab.runs.values():
        path = run.folder / "config.yaml"
        path.write_text(path.read_text().replace(str(own_lab.csv), "synthetic"))
    (found,) = describe(own_lab.board(), Datasets(own_lab.workspace))
    assert found.summary is None and "not drawn" in found.why
    assert not (own_lab.workspace / "datasets").exists()


def test_provenance_names_stores_versions_and_commands(lab, board) -> None:
    found = origins(board)
    keys = {key for run in lab.runs.values() for key in run.provenance["stores"].values()}
    assert {store.key for store in found.stores} == keys and found.stores[0].runs == 5
    assert found.versions["numpy"] == [np.__version__]
    assert found.extract == [
        f"hamcache extract --dataset {lab.csv} --backbones net_a,net_b --augmentations none --views 1"
    ]
    row = board.rows[0]
    assert RunView(row.run, "validation", {}).command.startswith(
        f"hamcache train --config runs/{row.run.id}/config.yaml"
    )
    assert json.dumps(found.versions)


def test_the_best_run_is_scored_in_subgroups(known_world, tmp_path) -> None:
    known_world.extract()
    run = run_experiment(known_world.config(), known_world.workspace)
    board = make_board([run], "mcc", resamples=FEW)
    (view,) = subgroup_views(board, known_world.workspace, FEW)
    assert list(view.columns) == ["age", "sex", "localization", "dx_type"]
    assert view.others == ["accuracy", "sensitivity_mel"]
    build_report([], known_world.workspace, tmp_path / "r.html", ReportSettings(resamples=FEW, gallery=0))
    page = (tmp_path / "r.html").read_text()
    assert '<a href="#subgroups">Subgroups</a>' in page and ">female</th>" in page
    women = next(group for group in view.columns["sex"] if group.name == "female")
    assert f'<td class="num main">{women.scores["mcc"].value:.3f}</td>' in page
