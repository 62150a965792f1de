"""Grids: planned, run, scored over seeds, killed and gone on with, kept and found again."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hamcache.cache.errors import MissingFeaturesError
from hamcache.extract.errors import AugmentationError
from hamcache.extract.recipes import Recipes
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.config.schema import load_config
from hamcache.pipeline.errors import ArtefactNotFoundError, ConfigError, DamagedError, FeaturesError, RunError
from hamcache.pipeline.evaluate.compare import compare_runs, leaderboard
from hamcache.pipeline.evaluate.intervals import bootstrap, interval, resampled_together
from hamcache.pipeline.experiment.extraction import FeatureWords, passes_for
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import all_runs, load_run
from hamcache.pipeline.show.plots.grid import plot_grid
from hamcache.pipeline.studies.experiments import Template, run_all
from hamcache.pipeline.studies.grid.cell_scores import COLUMNS, MEAN, grid_scores
from hamcache.pipeline.studies.grid.cells import plan_grid, same_views
from hamcache.pipeline.studies.grid.matrix import HEATMAP, Grid, all_grids, load_grid, save_grid
from hamcache.pipeline.studies.opened import joined
from hamcache.pipeline.studies.parallel import in_processes

BACKBONES, AUGMENTATIONS = ["net_a", "net_b"], ["none", "flip"]


@pytest.fixture(scope="module")
def two_nets(make_world):
    """A world with plain and flipped features of two backbones, of which the first knows more."""
    world = make_world()
    for backbone, skill in (("net_a", 1.5), ("net_b", 0.5)):
        world.extract(backbone, skill=skill)
        world.extract(backbone, "flip", 2, skill=skill)
    return world


def planned(world, backbones=BACKBONES, augmentations=AUGMENTATIONS, settings=None, **options):
    template = Template(settings={"dataset": str(world.csv), **(settings or {})})
    return plan_grid(backbones, augmentations, template, head="lda", **options)


def made(world, cells, **options) -> Grid:
    outcomes = run_all([cell.experiment for cell in cells], world.workspace, workers=1, apart=True, **options)
    grid = save_grid(cells, outcomes, world.workspace)
    plot_grid(grid, grid.folder / HEATMAP)
    return grid


@pytest.fixture(scope="module")
def opened(two_nets) -> Grid:
    """Two seeds, with the test set."""
    return made(two_nets, planned(two_nets, seeds=[0, 1]), test=True)


def call(world, *words: str):
    shared = ["--dataset", str(world.csv), "--workspace", str(world.workspace), "--workers", "1", "--no-extract"]
    return CliRunner().invoke(app, ["grid", *words, *shared])


def test_every_augmentation_meets_every_backbone_and_seed_with_the_views_it_has(two_nets) -> None:
    cells = planned(two_nets, augmentations=["none", "rotate", "flip", "dihedral"], views=6, seeds=[3, 0])
    assert [(c.backbone, c.augmentation, c.seed) for c in cells] == [
        (b, a, s) for b in BACKBONES for a in ("none", "rotate", "flip", "dihedral") for s in (3, 0)
    ]
    assert {c.augmentation: c.views for c in cells} == {"none": 1, "rotate": 6, "flip": 4, "dihedral": 6}
    for cell in cells:
        (block,) = cell.experiment.config.features.blocks
        assert (block.backbone, block.augmentation, block.views) == (cell.backbone, cell.augmentation, cell.views)
        assert cell.experiment.config.seed == cell.seed and cell.experiment.config.head.name == "lda"
    (one,) = planned(two_nets, ["net_a"], ["none"], settings={"seed": 7})
    assert one.seed == 7


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backbones": []}, ConfigError, "backbones: expected names .* got none"),
        ({"backbones": ["net_a", ""]}, ConfigError, "backbones: expected names"),
        ({"augmentations": ["flip", "flip"]}, ConfigError, "augmentations: expected each once, got 'flip'"),
        ({"seeds": [1, 1]}, ConfigError, "seeds: expected each once"),
        ({"augmentations": ["flop"]}, AugmentationError, "'flop'. Did you mean 'flip'"),
        ({"settings": {"features": "net_a"}}, ConfigError, "leave features.blocks out"),
        ({"settings": {"head.hiden": 3}}, ConfigError, "hiden"),
    ],
)
def test_what_makes_no_grid_is_refused_before_anything_runs(two_nets, options, error, message) -> None:
    with pytest.raises(error, match=message):
        planned(two_nets, **options)


def test_a_grid_keeps_what_it_promises(two_nets, opened: Grid) -> None:
    grid = load_grid(opened.id, two_nets.workspace)
    assert {path.name for path in grid.folder.iterdir()} == {
        "grid.json", "cells.csv", "scores.csv", "matrix.csv", "heatmap.png",
    }  # fmt: skip
    assert (grid.metric, grid.head, grid.backbones, grid.augmentations) == ("mcc", "lda", BACKBONES, AUGMENTATIONS)
    assert list(grid.cells.columns) == [
        "backbone", "augmentation", "seed", "run", "mcc", "low", "high", "seconds", "error",
        "test_mcc", "test_low", "test_high",
    ]  # fmt: skip
    assert len(grid.cells) == 8 and (grid.cells["error"] == "").all()
    for row in grid.cells.itertuples(index=False):
        run = load_run(row.run, two_nets.workspace)
        (block,) = run.config.features.blocks
        assert (block.backbone, block.augmentation, run.config.seed) == (row.backbone, row.augmentation, row.seed)
        assert row.mcc == pytest.approx(run.metrics["validation"]["mcc"])
        assert row.test_mcc == pytest.approx(run.metrics["test"]["mcc"])
        board = leaderboard([run], ["mcc"]).iloc[0]
        assert (row.low, row.high, row.seconds) == (board["low"], board["high"], board["seconds"])
    assert (grid.folder / "heatmap.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert grid.settings["majority"] == {"validation": 0, "test": 0} and grid.settings["seeds"] == [0, 1]


def test_the_matrix_is_the_mean_over_seeds_and_its_margins_are_means_of_means(opened: Grid) -> None:
    for part, column in (("validation", "mcc"), ("test", "test_mcc")):
        by_hand = opened.cells.pivot_table(index="backbone", columns="augmentation", values=column)
        matrix = opened.matrix(part)
        assert list(matrix.index) == BACKBONES and list(matrix.columns) == AUGMENTATIONS
        np.testing.assert_allclose(matrix, by_hand.loc[BACKBONES, AUGMENTATIONS])
        whole = opened.matrix(part, means=True)
        np.testing.assert_allclose(whole.loc[BACKBONES, MEAN], matrix.mean(axis=1))
        np.testing.assert_allclose(whole.loc[MEAN, AUGMENTATIONS], matrix.mean(axis=0))
        assert whole.loc[MEAN, MEAN] == pytest.approx(matrix.to_numpy().mean())
        low, high = (opened.matrix(part, value, means=True) for value in ("low", "high"))
        assert (low < whole + 0.02).all(axis=None) and (whole < high + 0.02).all(axis=None)
        kept = pd.read_csv(opened.folder / "matrix.csv")
        kept = kept[kept["part"] == part].drop(columns="part").set_index("backbone")
        np.testing.assert_allclose(kept.loc[whole.index, whole.columns], whole)
    assert set(opened.scores.columns) == {"part", *COLUMNS}
    matrix = opened.matrix()
    assert matrix.loc[opened.best] == matrix.max(axis=None) and opened.best[0] == "net_a"


def test_one_seed_has_the_interval_of_its_run(two_nets) -> None:
    cells = planned(two_nets, ["net_a"], ["none"])
    grid = made(two_nets, cells)
    (run,) = [load_run(one, two_nets.workspace) for one in grid.cells["run"]]
    y, groups = run.labels("validation"), run.part("validation")["group"].to_numpy(dtype=object)
    (wanted,) = bootstrap(y, run.probabilities("validation"), groups, ["mcc"], classes=run.classes)
    score = grid.scores.iloc[0]
    assert (score["score"], score["low"], score["high"]) == (wanted.value, wanted.low, wanted.high)


def test_seeds_that_share_lesions_are_not_counted_as_independent() -> None:
    """Three times the same images are no more than once; three disjoint sets are."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, 120)
    proba = rng.dirichlet(np.ones(3), 120) * 0.5 + 0.5 * np.eye(3)[y]
    proba /= proba.sum(axis=1, keepdims=True)
    noisy = np.where(rng.random((120, 1)) < 0.3, rng.permutation(proba), proba)
    groups = np.array([f"lesion{n // 2}" for n in range(120)], dtype=object)
    once = interval(resampled_together([(y, noisy, groups)], "mcc").mean(axis=0), 60)
    same = interval(resampled_together([(y, noisy, groups)] * 3, "mcc").mean(axis=0), 60)
    assert (same.value, same.low, same.high) == pytest.approx((once.value, once.low, once.high))
    others = [(y, noisy, np.array([f"{n}{g}" for g in groups], dtype=object)) for n in range(3)]
    apart = interval(resampled_together(others, "mcc").mean(axis=0), 180)
    assert apart.value == pytest.approx(once.value)
    assert (apart.high - apart.low) == pytest.approx((once.high - once.low) / np.sqrt(3), rel=0.2)


def test_a_resample_weighs_a_lesion_alike_in_every_set(two_nets, opened: Grid) -> None:
    """The joint bootstrap written out by hand, lesion by lesion, with scores of repeated images."""
    from sklearn.metrics import matthews_corrcoef

    runs = [load_run(run, two_nets.workspace) for run in opened.cells["run"][:2]]
    assert runs[0].config.seed != runs[1].config.seed
    parts = [run.part("validation") for run in runs]
    lesions = sorted(set().union(*(part["group"] for part in parts)))
    assert set(parts[0]["group"]) != set(parts[1]["group"])
    sets = [
        (run.labels("validation"), run.probabilities("validation"), part["group"].to_numpy(dtype=object))
        for run, part in zip(runs, parts, strict=True)
    ]
    found = resampled_together(sets, "mcc", resamples=20, seed=4)
    rng = np.random.default_rng(4)
    for number in range(1, 21):
        counts = np.bincount(rng.integers(0, len(lesions), len(lesions)), minlength=len(lesions))
        for row, (y, proba, groups) in zip(found, sets, strict=True):
            times = [counts[lesions.index(group)] for group in groups]
            guess = np.repeat(proba.argmax(axis=1), times)
            assert row[number] == pytest.approx(matthews_corrcoef(np.repeat(y, times), guess))


def test_a_mean_that_lacks_a_run_is_not_given(two_nets, opened: Grid) -> None:
    cells = [
        (row.backbone, row.augmentation, None if n == 0 else load_run(row.run, two_nets.workspace))
        for n, row in enumerate(opened.cells.itertuples(index=False))
    ]
    scores = grid_scores(cells, "mcc", "validation", resamples=50).set_index(["backbone", "augmentation"])["score"]
    absent = {("net_a", "none"), ("net_a", MEAN), (MEAN, "none"), (MEAN, MEAN)}
    assert set(scores.index[scores.isna()]) == absent
    assert scores["net_a", "flip"] == pytest.approx(opened.matrix().loc["net_a", "flip"])


def test_a_failing_backbone_costs_no_other_and_is_shown(world, monkeypatch: pytest.MonkeyPatch) -> None:
    for backbone in BACKBONES:
        world.extract(backbone)
        world.extract(backbone, "flip", 2)

    def run_or_fail(config, *args, **options):
        if config.features.blocks[0].backbone == "net_a":
            raise FeaturesError("net_a has a bad day")
        return run_experiment(config, *args, **options)

    monkeypatch.setattr("hamcache.pipeline.studies.experiments.run_experiment", run_or_fail)
    result = call(world, "--features", "net_a,net_b", "--augmentations", "none,flip", "--head", "lda")
    assert result.exit_code == 0, result.output
    assert "lda on net_a, none x1, seed 0: FAILED: FeaturesError: net_a has a bad day" in result.output
    assert "4 cells: 2 run, 0 found finished, 2 failed." in result.output and "incomplete" in result.output
    (grid,) = all_grids(world.workspace)
    assert list(grid.cells["run"] == "") == [True, True, False, False] == list(grid.cells["error"] != "")
    assert list(grid.matrix().isna().any(axis=1)) == [True, False] and grid.best[0] == "net_b"
    with pytest.raises(RunError, match=r"all failed.*net_a has a bad day"):
        run_all([c.experiment for c in planned(world, ["net_a"])], world.workspace, workers=1)


def test_a_second_grid_runs_nothing_and_a_larger_one_only_what_is_new(two_nets, opened: Grid, monkeypatch) -> None:
    count, before = len(all_runs(two_nets.workspace)), (opened.folder / "cells.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(
            "hamcache.pipeline.studies.experiments.in_processes", lambda *_: pytest.fail("something was to be trained")
        )
        patch.setattr(
            "hamcache.pipeline.experiment.feature_blocks.read_checked", lambda *_: pytest.fail("features were read")
        )
        again = made(two_nets, planned(two_nets, seeds=[0, 1]))
    assert again.id == opened.id and len(all_runs(two_nets.workspace)) == count
    assert (opened.folder / "cells.csv").read_bytes() == before
    words = ("--features", "net_a,net_b,net_a+net_b", "--augmentations", "none,flip", "--head", "lda")
    result = call(two_nets, *words, "--seeds", "0, 1", "--test")
    assert result.exit_code == 0, result.output
    assert "12 cells: 4 run, 8 found finished, 0 failed." in result.output
    assert len(all_runs(two_nets.workspace)) == count + 4 and len(all_grids(two_nets.workspace)) >= 2
    assert "mcc on validation: lda, moles, one_per_lesion, seed 0, 1" in result.output
    assert "mcc on test" in result.output and "mean of backbones" in result.output and " *" in result.output


def test_a_killed_grid_goes_on_where_it_stopped(world) -> None:
    """The command is killed for real once it has finished a cell; the next call finds what was finished."""
    augmentations = ["none", "flip", "rotate", "dihedral"]
    for augmentation in augmentations:
        world.extract("net_a", augmentation, 1 if augmentation == "none" else 2)
    words = ["grid", "--features", "net_a", "--augmentations", ",".join(augmentations), "--head", "mlp"]
    shared = ["--dataset", str(world.csv), "--workspace", str(world.workspace), "--no-extract", "--no-plots"]
    slow = ["--seeds", "0,1", "--set", "head.max_epochs=150", "--set", "head.patience=150"]
    command = [sys.executable, "-m", "hamcache.pipeline.cli.app", *words, *shared, *slow, "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, env={**os.environ})
    while process.poll() is None and not all_runs(world.workspace):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {run.id: run.provenance["finished"] for run in all_runs(world.workspace)}
    assert 0 < len(finished) < 8 and all_grids(world.workspace) == []
    result = CliRunner().invoke(app, [*words, *shared, *slow, "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert f"8 cells: {8 - len(finished)} run, {len(finished)} found finished, 0 failed." in result.output
    runs = {run.id: run.provenance["finished"] for run in all_runs(world.workspace)}
    assert len(runs) == 8 and finished.items() <= runs.items()


def test_cells_are_compared_with_the_best_on_validation_by_a_paired_bootstrap(two_nets, opened: Grid) -> None:
    cells = planned(two_nets)
    grid = made(two_nets, cells)
    runs = {
        (row.backbone, row.augmentation): load_run(row.run, two_nets.workspace)
        for row in grid.cells.itertuples(index=False)
    }
    compared = compare_runs(list(runs.values()), "mcc", "validation", reference=runs[grid.best].id).pairs
    rows = grid.scores[grid.scores["part"] == "validation"]
    scores = rows.set_index(["backbone", "augmentation"])["p_holm"]
    for row in compared.itertuples(index=False):
        cell = next(cell for cell, run in runs.items() if run.id == row.run)
        assert scores[cell] == pytest.approx(row.p_holm)
    assert scores.notna().sum() == 3 and np.isnan(scores[grid.best])
    assert grid.apart(level=0.1) == (compared["p_holm"] < 0.1).sum() == 1  # net_b knows less
    assert grid.apart() == (compared["p_holm"] < 0.05).sum()
    for part in ("validation", "test"):
        rows = opened.scores[opened.scores["part"] == part].set_index(["backbone", "augmentation"])
        assert np.isnan(rows.loc[opened.best, "p_holm"]) and rows["p_holm"].notna().sum() == 3


def test_columns_of_the_same_pictures_are_told(two_nets) -> None:
    assert same_views({"none": 1, "flip": 4, "dihedral": 8}) == []
    assert same_views({"none": 1, "flip": 1, "rotate": 1, "dihedral": 1}) == [["none", "flip", "dihedral"]]
    words = ("--features", "net_a", "--augmentations", "none,flip", "--head", "lda")
    alike, apart = (call(two_nets, *words, "--views", views) for views in ("1", "2"))
    assert "Note: the first views of none and flip are the same pictures" in alike.output
    assert alike.exit_code == apart.exit_code == 0 and "Note" not in apart.output
    grid = max(all_grids(two_nets.workspace), key=lambda grid: grid.settings["views"] == {"none": 1, "flip": 1})
    assert grid.matrix().loc["net_a", "none"] == grid.matrix().loc["net_a", "flip"]


def test_what_the_cache_lacks_is_named_at_once_and_nothing_runs(world) -> None:
    world.extract("net_a")
    with pytest.raises(MissingFeaturesError, match=r"net_a \(flip\), .*net_b \(none\), net_b \(flip\)|--views 2"):
        run_all([c.experiment for c in planned(world)], world.workspace, workers=1)
    assert all_runs(world.workspace) == []


def test_backbones_are_in_memory_one_after_the_other(two_nets, monkeypatch) -> None:
    read = []

    def watched(function, configs, workers):
        loaded = function.keywords["inputs"].blocks.values()
        read.append({block.config.backbone for block in loaded if block._row_of})
        return in_processes(function, configs, workers)

    monkeypatch.setattr("hamcache.pipeline.studies.experiments.in_processes", watched)
    cells = planned(two_nets, ["net_b", "net_a", "net_a+net_b"], seeds=[9])
    outcomes = run_all([c.experiment for c in cells], two_nets.workspace, workers=1, apart=True)
    assert read == [{"net_b"}, {"net_a"}, {"net_a", "net_b"}]
    assert [o.experiment for o in outcomes] == [c.experiment for c in cells]


def test_losses_have_their_best_cell_at_the_lowest(two_nets) -> None:
    grid = made(two_nets, planned(two_nets, settings={"objective": "nll"}))
    assert grid.metric == "nll" and grid.matrix().loc[grid.best] == grid.matrix().min(axis=None)
    assert 0.5 < grid.settings["majority"]["validation"] < 1.2


def test_grids_are_found_by_the_beginning_of_their_id_and_damaged_ones_passed_over(two_nets, opened: Grid) -> None:
    assert load_grid(opened.id[:-1], two_nets.workspace).id == opened.id
    assert load_grid(opened.folder, two_nets.workspace).id == opened.id
    for wrong in ("", "nothing", "../grids", "lda"):
        with pytest.raises(ArtefactNotFoundError, match="Expected the id of one grid"):
            load_grid(wrong, two_nets.workspace)
    broken = two_nets.workspace / "grids" / "broken"
    broken.mkdir()
    try:
        for content in (None, "{", "[1]", json.dumps({"metric": "mcc"})):
            if content is not None:
                (broken / "grid.json").write_text(content)
            with pytest.raises(DamagedError, match="not a whole grid"):
                load_grid("broken", two_nets.workspace)
            assert "broken" not in [grid.id for grid in all_grids(two_nets.workspace)]
    finally:
        (broken / "grid.json").unlink()
        broken.rmdir()


def test_one_pass_extracts_a_whole_grid() -> None:
    cells = plan_grid(["a", "b"], ["none", "flip", "rotate", "dihedral"], views=4)
    assert passes_for(joined([cell.experiment.config for cell in cells])[0]) == [
        FeatureWords(["a", "b"], ["none", "flip", "rotate", "dihedral"], 4, recipes=Recipes())
    ]


@pytest.mark.parametrize(
    ("blocks", "passes"),
    [
        ([("a", "flip", 4), ("a", "dihedral", 8)], [(["a"], ["flip", "dihedral"], 8)]),  # flip has no more than 4
        ([("a", "flip", 2), ("a", "dihedral", 8)], [(["a"], ["flip"], 2), (["a"], ["dihedral"], 8)]),
        ([("a", "none", 1), ("b", "flip", 2)], [(["a"], ["none"], 1), (["b"], ["flip"], 2)]),
        ([("a", "rotate", 3), ("b", "rotate", 3)], [(["a", "b"], ["rotate"], 3)]),
    ],
)
def test_a_pass_extracts_no_view_that_nobody_asked_for(blocks, passes) -> None:
    content = [{"backbone": b, "augmentation": a, "views": v} for b, a, v in blocks]
    config = load_config(base={"features": {"blocks": content, "views": {"train": "all"}}})
    assert passes_for(config) == [FeatureWords(*words, recipes=Recipes()) for words in passes]


def test_wrong_seeds_are_wrong_usage(two_nets) -> None:
    for seeds in ("x", "0,-1", "1.5", "0,,1"):
        result = call(two_nets, "--features", "net_a", "--augmentations", "none", "--seeds", seeds)
        assert result.exit_code == 2 and "whole numbers separated by commas" in result.output
