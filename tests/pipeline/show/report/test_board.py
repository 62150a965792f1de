"""The leaderboard's numbers are those that the rest of the package gives, cohort by cohort."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from hamcache.heads.errors import MetricError
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.evaluate.compare import compare_runs
from hamcache.pipeline.evaluate.intervals import bootstrap
from hamcache.pipeline.runs.records import all_runs
from hamcache.pipeline.show.report.board import MOST_RESAMPLES, anchor, enough_resamples, make_board
from hamcache.pipeline.show.report.render import facts

FEW = 200


def test_scores_and_intervals_are_those_of_the_bootstrap(lab, board) -> None:
    assert {row.run.id for row in board.rows} == {run.id for run in lab.runs.values()}
    for row in board.rows:
        y, proba = row.run.labels("validation"), row.run.probabilities("validation")
        groups = row.run.part("validation")["group"].to_numpy(object)
        resamples = enough_resamples(FEW, board.cohorts[row.cohort].runs)
        (expected,) = bootstrap(y, proba, groups, ["mcc"], resamples=resamples)
        assert row.value == pytest.approx(expected.value, abs=1e-12)
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_runs_on_the_same_images_are_a_cohort_and_others_are_not(lab, board) -> None:
    assert [cohort.runs for cohort in board.cohorts] == [5, 1] and board.cohorts[1].seed == 1
    assert {row.run.id for row in board.in_cohort(board.cohorts[1])} == {lab.runs["seed1"].id}
    assert board.cohorts[0].images == len(lab.runs["a"].part("validation"))
    assert board.cohorts[0].chance == lab.runs["a"].baseline("validation")


def test_the_gap_to_the_best_is_the_paired_difference(lab, board) -> None:
    rows = board.in_cohort(board.cohorts[0])
    best = rows[0]
    assert best.gap is None and best.value == max(row.value for row in rows)
    found = compare_runs([row.run for row in rows], "mcc", reference=best.run.id, resamples=enough_resamples(FEW, 5))
    expected = found.pairs.set_index("run")
    for row in rows[1:]:
        assert row.gap == pytest.approx(expected.loc[row.run.id, "difference"], abs=1e-12)
        assert (row.gap_low, row.gap_high, row.p) == pytest.approx(
            tuple(expected.loc[row.run.id, ["low", "high", "p_holm"]])
        )


def test_a_metric_where_lower_is_better_turns_the_order(lab) -> None:
    board = lab.board("nll")
    rows = board.in_cohort(board.cohorts[0])
    assert [row.value for row in rows] == sorted(row.value for row in rows)
    assert all(row.gap > 0 for row in rows[1:])


def test_the_metric_of_one_class_can_order_the_runs(lab) -> None:
    rows = lab.board("sensitivity_mel").rows
    assert [row.value for row in rows] == [row.run.metrics["validation"]["sensitivity_mel"] for row in rows]
    with pytest.raises(MetricError, match="did you mean 'mcc'"):
        lab.board("mmc")


def test_the_test_set_shows_only_runs_that_opened_it(lab) -> None:
    board = lab.board(part="test")
    assert [row.run.id for row in board.rows] == [lab.runs["ab"].id]
    assert board.rows[0].value == lab.runs["ab"].metrics["test"]["mcc"]
    assert set(board.left_out) == {run.id for name, run in lab.runs.items() if name != "ab"}
    assert all("--test" in why for why in board.left_out.values())


def test_the_test_set_does_not_choose(own_lab) -> None:
    """Of two runs the one that is better on validation comes first, whatever the test set says of them."""
    good = own_lab.runs["ab"]
    other = good.folder.with_name("other")
    shutil.copytree(good.folder, other)
    predictions = pd.read_csv(other / "predictions.csv", dtype={"image_id": "str", "group": "str"})
    columns = [f"p_{name}" for name in good.classes]
    wrong = predictions["part"] == "validation"
    predictions.loc[wrong, columns] = np.roll(predictions.loc[wrong, columns].to_numpy(), 1, axis=1)
    predictions.to_csv(other / "predictions.csv", index=False)
    metrics = good.metrics | {
        "validation": good.metrics["validation"] | {"mcc": -0.3},
        "test": good.metrics["test"] | {"mcc": 0.99},
    }
    (other / "metrics.json").write_text(pd.Series(metrics).to_json())
    board = own_lab.board(part="test")
    assert [row.run.id for row in board.rows] == [good.id, "other"]
    assert board.cohorts[0].best.run.id == good.id and board.rows[1].value == 0.99


def test_a_damaged_run_costs_only_itself(own_lab) -> None:
    (own_lab.runs["b"].folder / "predictions.csv").unlink()
    (own_lab.runs["knn"].folder / "config.yaml").write_text("head: {nome: knn}\nunknown: 1\n")
    board = own_lab.board()
    assert set(board.left_out) == {own_lab.runs["b"].id, own_lab.runs["knn"].id}
    assert len(board.rows) == 4


def test_without_a_run_to_show_it_says_why(lab) -> None:
    with pytest.raises(RunError, match=r"Expected a run with mcc on test, got none of 1: .*--test"):
        make_board([lab.runs["a"]], "mcc", "test")


def test_many_runs_get_so_many_resamples_that_holm_can_find_a_difference() -> None:
    assert enough_resamples(2000, 5) == 2000
    for runs in (30, 60, 100):
        least = 2 / (enough_resamples(2000, runs) + 1) * (runs - 1)
        assert least < 0.05
    assert enough_resamples(2000, 10_000) == MOST_RESAMPLES


def test_runs_of_another_data_set_follow_those_of_the_largest_however_good(own_lab) -> None:
    run = own_lab.runs["seed1"]
    provenance = run.provenance | {"summary": run.provenance["summary"] | {"dataset": "easy"}}
    (run.folder / "provenance.json").write_text(json.dumps(provenance))
    metrics = {name: values | {"mcc": 0.999} for name, values in run.metrics.items()}
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    board = own_lab.board()
    assert [row.about["dataset"] for row in board.rows] == ["moles"] * 5 + ["easy"] and board.rows[-1].value == 0.999


def test_seeds_of_one_data_set_share_a_line_at_the_top(board) -> None:
    (line,) = facts(board)
    assert line[3:] == ("moles, one_per_lesion, seeds 0, 1", 6) and line[0] == board.cohorts[0].images


def test_anchors_are_plain_letters() -> None:
    assert anchor('"><script>') == anchor('"><script>') and anchor("a") != anchor("b")
    assert anchor('"><script>').replace("-", "").isalnum()


def test_every_run_of_the_workspace_is_on_the_board_once(lab, board) -> None:
    assert sorted(row.run.id for row in board.rows) == sorted(run.id for run in all_runs(lab.workspace))
