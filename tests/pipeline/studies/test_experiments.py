import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hamcache.cache.errors import MissingFeaturesError
from hamcache.data.workspace import Workspace
from hamcache.heads.errors import UnknownHeadError
from hamcache.heads.metrics import METRICS
from hamcache.heads.zoo import HEADS
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.errors import ConfigError, RunError
from hamcache.pipeline.evaluate.intervals import holm, paired_bootstrap
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import all_runs
from hamcache.pipeline.studies.experiments import Template, plan, run_all
from hamcache.pipeline.studies.hybrids import subsets, what_each_adds
from hamcache.pipeline.studies.leaderboard import zoo_leaderboard
from hamcache.pipeline.studies.parallel import in_processes, workers_that_fit


@pytest.fixture(scope="module")
def two_nets(make_world):
    """A world with features of two backbones."""
    world = make_world()
    world.extract("net_a")
    world.extract("net_b", skill=0.6)
    return world


def planned(world, features, heads=(), config=None, settings=None, **options):
    return plan(features, heads, Template(config, {"dataset": str(world.csv), **(settings or {})}), **options)


def call(world, *words: str):
    """Run the command line on this world, in this process unless `--workers` says otherwise."""
    shared = ["--dataset", str(world.csv), "--workspace", str(world.workspace)]
    jobs = [] if "--workers" in words else ["--workers", "1"]
    return CliRunner().invoke(app, [*words, *shared, *jobs])


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_every_head_of_the_zoo_stands_in_the_leaderboard(two_nets, tmp_path: Path) -> None:
    result = call(two_nets, "zoo", "--features", "net_a+net_b", "--out", str(tmp_path / "board.csv"))
    assert result.exit_code == 0, result.output
    board = pd.read_csv(tmp_path / "board.csv")
    assert sorted(board["head"].dropna()) == sorted(HEADS) and board["run"].iloc[-1] == "majority baseline"
    rows = board.iloc[:-1]
    assert list(rows["mcc"]) == sorted(rows["mcc"], reverse=True) and rows["mcc"].max() > 0.5
    assert (rows["low"] <= rows["mcc"] + 0.05).all() and (rows["high"] >= rows["mcc"] - 0.05).all()
    assert (rows["seconds"] >= 0).all() and board["mcc"].iloc[-1] == 0
    assert is_png(tmp_path / "board.png")
    assert "test_mcc" not in board


def test_a_finished_head_is_found_and_not_trained_again(two_nets, monkeypatch: pytest.MonkeyPatch) -> None:
    experiments = planned(two_nets, ["net_a", "net_b"], ["logreg", "nearest_centroid"])
    first = run_all(experiments, two_nets.workspace, workers=1)
    count = len(all_runs(two_nets.workspace))
    monkeypatch.setattr(
        "hamcache.pipeline.studies.experiments.in_processes", lambda *_: pytest.fail("something was to be trained")
    )
    monkeypatch.setattr(
        "hamcache.pipeline.experiment.feature_blocks.read_checked", lambda *_: pytest.fail("features were read")
    )
    again = run_all(experiments, two_nets.workspace, workers=1)
    assert [o.run.id for o in again] == [o.run.id for o in first] and all(o.reused for o in again)
    assert len(all_runs(two_nets.workspace)) == count


def test_heads_in_processes_score_what_they_score_here(world, tmp_path: Path) -> None:
    world.extract("net_a", "flip", 2)
    world.extract("net_b", "flip", 2)
    options = {"augmentation": "flip", "views": 2}
    experiments = planned(world, ["net_a", "net_a+net_b"], ["lda", "knn"], **options)
    seen = []
    outcomes = run_all(experiments, world.workspace, workers=2, on_outcome=seen.append)
    assert [o.experiment for o in outcomes] == experiments and len(seen) == 4
    for outcome in outcomes:
        head, config = outcome.experiment.head, outcome.run.config
        assert (config.head.name, outcome.run.provenance["summary"]["head"]) == (head, head)
        assert [block.views for block in config.features.blocks] == [2] * len(config.features.blocks)
    elsewhere = Workspace(tmp_path / "elsewhere", world.workspace.features)
    again = run_all(experiments, elsewhere, workers=1)
    for here, there in zip(again, outcomes, strict=True):
        assert not here.reused
        np.testing.assert_allclose(
            here.run.probabilities("validation"), there.run.probabilities("validation"), atol=1e-6
        )


def test_a_failing_head_is_shown_and_costs_no_other(two_nets, tmp_path: Path) -> None:
    config = tmp_path / "bad_average.yaml"
    config.write_text("head: {name: average, heads: [{name: logreg, blocks: [nobody]}]}\n")
    words = ["zoo", "--features", "net_a+net_b", "--config", str(config), "--out", str(tmp_path / "board.csv")]
    result = call(two_nets, *words, "--heads", "average,logreg")
    assert result.exit_code == 0, result.output
    assert "average on net_a+net_b: FAILED: UnknownNameError: Unknown block 'nobody'" in result.output
    assert list(pd.read_csv(tmp_path / "board.csv")["head"].dropna()) == ["logreg"]
    with pytest.raises(RunError, match=r"at least one of 1 .* average on net_a\+net_b: .*nobody"):
        run_all(planned(two_nets, ["net_a+net_b"], ["average"], config=str(config)), two_nets.workspace, workers=1)


def test_the_test_set_is_opened_only_when_asked_and_does_not_choose_the_order(two_nets) -> None:
    experiments = planned(two_nets, ["net_a", "net_b"], ["logreg"], settings={"head.C": 0.5})
    closed = run_all(experiments, two_nets.workspace, workers=1)
    opened = run_all(experiments, two_nets.workspace, workers=1, test=True)
    assert not any("test" in o.run.metrics for o in closed) and not any(o.reused for o in opened)
    board = zoo_leaderboard([o.run for o in opened], ["mcc", "accuracy"], resamples=100)
    assert list(board["mcc"][:2]) == sorted(board["mcc"][:2], reverse=True)
    for o in opened:
        row = board.set_index("run").loc[o.run.id]
        assert row["test_mcc"] == pytest.approx(o.run.metrics["test"]["mcc"])
        assert row["mcc"] == pytest.approx(o.run.metrics["validation"]["mcc"])
        assert row["test_low"] < row["test_high"]


def test_opening_the_test_set_trains_nothing_again_and_scores_as_training_would(two_nets, monkeypatch) -> None:
    heads = ["logreg_path", "knn", "mlp", "average"]
    experiments = planned(two_nets, ["net_a+net_b"], heads, settings={"tau": "auto", "seed": 7})
    run_all(experiments, two_nets.workspace, workers=1)
    trained = {e.head: run_experiment(e.config, two_nets.workspace, test=True, force=True) for e in experiments}
    for run in trained.values():
        shutil.rmtree(run.folder)
    monkeypatch.setattr("hamcache.heads.base.BaseHead.fit", None)
    for outcome in run_all(experiments, two_nets.workspace, workers=1, test=True):
        again = trained[outcome.experiment.head]
        assert outcome.run is not None, outcome.reason
        assert outcome.run.metrics["test"] == pytest.approx(again.metrics["test"]), outcome.experiment.head
        assert outcome.run.metrics["validation"] == pytest.approx(again.metrics["validation"])
        assert outcome.run.provenance["seconds"]["fit"] > 0


def test_options_reach_every_experiment_and_the_configured_head_keeps_its_parameters(world, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("split: {train_images: all}\nseed: 4\nhead: {name: mlp, hidden: [7]}\n")
    made = planned(world, ["a", "a+b:stages"], ["mlp", "lda", "lda"], config=str(config), settings={"tau": "auto"})
    assert [(one.head, one.features) for one in made] == [(h, f) for f in ("a", "a+b:stages") for h in ("mlp", "lda")]
    for one in made:
        assert (one.config.seed, one.config.split.train_images, one.config.tau) == (4, "all", "auto")
        assert one.config.head.name == one.head and one.config.head.params.get("hidden", [7]) == [7]
    assert [block.backbone for block in made[-1].config.features.blocks] == ["a", "b:stages"]
    config.write_text("features: {blocks: [x, y]}\n")
    (one,) = planned(world, [], ["ridge"], config=str(config))
    assert (one.features, len(one.config.features.blocks)) == ("x+y", 2)
    config.write_text("net: simple_cnn\n")
    with pytest.raises(ConfigError, match=r"heads on cached features.*net"):
        planned(world, ["a"], ["ridge"], config=str(config))


def test_wrong_names_are_refused_before_anything_runs(two_nets) -> None:
    with pytest.raises(UnknownHeadError, match=r"'logrge'.*did you mean 'logreg'"):
        planned(two_nets, ["net_a"], ["lda", "logrge"])
    for wrong in ("", "net_a+", "net_a++net_b"):
        with pytest.raises(ConfigError, match="empty hybrid"):
            planned(two_nets, ["net_a", wrong], ["lda"])
    with pytest.raises(ConfigError, match="empty hybrid"):
        planned(two_nets, [], ["lda"])
    with pytest.raises(ConfigError, match=r"head\.CC.*head\.C"):
        planned(two_nets, ["net_a"], ["logreg"], settings={"head.CC": 1})
    count = len(all_runs(two_nets.workspace))
    with pytest.raises(MissingFeaturesError, match=r"extract --dataset .* --backbones net_x,net_y --aug.* --views 1"):
        run_all(planned(two_nets, ["net_a", "net_x", "net_a+net_y"], ["lda"]), two_nets.workspace, workers=1)
    assert len(all_runs(two_nets.workspace)) == count


@pytest.mark.parametrize("backbones", [[], ["net_a"], ["net_a", ""], ["net_a", "net_a"]])
def test_a_hybrid_needs_two_different_backbones(backbones: list[str]) -> None:
    with pytest.raises(ConfigError, match="two or more different"):
        subsets(backbones)


def test_hybrids_say_what_each_backbone_adds(world, tmp_path: Path) -> None:
    names = ["net_a", "net_b", "net_c"]
    for name, skill in zip(names, (1.5, 0.0, 0.0), strict=True):
        world.extract(name, skill=skill)
    assert subsets(names) == [
        "net_a",
        "net_b",
        "net_c",
        "net_a+net_b",
        "net_a+net_c",
        "net_b+net_c",
        "net_a+net_b+net_c",
    ]
    out = tmp_path / "sub" / "scores.csv"
    result = call(world, "hybrids", "--backbones", ",".join(names), "--head", "lda", "--out", str(out))
    assert result.exit_code == 0, result.output
    runs = {run.provenance["summary"]["features"]: run for run in all_runs(world.workspace)}
    assert sorted(runs) == sorted(subsets(names)) and len(pd.read_csv(out)) == 8
    assert is_png(out.with_suffix(".png"))
    adds = pd.read_csv(tmp_path / "sub" / "scores-adds.csv").set_index("backbone")
    full = runs["net_a+net_b+net_c"]
    y, lesions = full.labels("validation"), full.part("validation")["group"].to_numpy(dtype=object)
    for left_out, without in zip(names, ("net_b+net_c", "net_a+net_c", "net_a+net_b"), strict=True):
        row, rest = adds.loc[left_out], runs[without]
        by_hand = paired_bootstrap(y, full.probabilities("validation"), rest.probabilities("validation"), lesions)
        assert row["without"] == without
        assert row["score"] == pytest.approx(full.metrics["validation"]["mcc"])
        assert row["adds"] == pytest.approx(full.metrics["validation"]["mcc"] - rest.metrics["validation"]["mcc"])
        assert (row["low"], row["high"], row["p"]) == pytest.approx((by_hand.low, by_hand.high, by_hand.p_value))
    assert list(adds["p_holm"]) == pytest.approx(list(holm(list(adds["p"]))))
    assert adds["adds"].idxmax() == "net_a" and adds.loc["net_a", "low"] > 0


def test_without_the_full_hybrid_there_is_nothing_to_leave_out(two_nets) -> None:
    (outcome,) = run_all(planned(two_nets, ["net_a"], ["lda"]), two_nets.workspace, workers=1)
    assert what_each_adds({"net_a": outcome.run}, ["net_a", "net_b"]).empty


def test_hybrids_take_any_objective(two_nets) -> None:
    result = call(
        two_nets, "hybrids", "--backbones", "net_a,net_b", "--head", "lda", "--set", "objective=nll", "--test"
    )
    assert result.exit_code == 0, result.output
    assert not METRICS["nll"].higher_is_better
    (made,) = [path for path in (two_nets.workspace / "hybrids").glob("*.csv") if "adds" not in path.name]
    board = pd.read_csv(made)
    assert list(board["nll"][:3]) == sorted(board["nll"][:3]) and "test_nll" in board
    assert set(pd.read_csv(made.with_name(f"{made.stem}-adds.csv"))["part"]) == {"validation", "test"}


@pytest.mark.parametrize("tasks", [[0, 1, 3], [0, 1, 2, 3, 4]])
def test_a_task_that_fails_or_dies_costs_no_other(tasks: list[int]) -> None:
    def double(number: int) -> int:  # in here, so that it travels without this module and its imports
        if number == 1:
            raise ValueError("one is refused")
        if number == 2:
            os._exit(7)  # as the system ends a process that has taken too much memory
        return 2 * number

    results = {tasks[position]: result for position, result in in_processes(double, tasks, 2)}
    assert {n: r for n, r in results.items() if n not in (1, 2)} == {n: 2 * n for n in tasks if n not in (1, 2)}
    assert isinstance(results[1], ValueError)
    assert 2 not in tasks or (isinstance(results[2], RunError) and "memory" in str(results[2]))


def test_jobs_are_as_many_as_memory_holds() -> None:
    assert workers_that_fit(1, 1) == 1 and workers_that_fit(1 << 60, 8) == 1
    assert 1 <= workers_that_fit(1, 1000) <= (os.cpu_count() or 1)


def test_the_commands_cost_the_help_nothing() -> None:
    heavy = "{'torch', 'sklearn', 'pandas', 'joblib', 'matplotlib'}"
    code = f"import sys, hamcache.pipeline.cli.app; print(*{heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
