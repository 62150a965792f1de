import numpy as np
import pytest

from hamcache.cache.errors import MissingFeaturesError
from hamcache.heads.errors import OwnHeadError
from hamcache.heads.views import prediction_views, training_views
from hamcache.pipeline.errors import FeaturesError
from hamcache.pipeline.experiment.inputs import open_inputs
from hamcache.pipeline.experiment.learning import parts_of
from hamcache.pipeline.experiment.preparation import make_splits
from hamcache.pipeline.studies.sweeps.shared import SharedBlock, open_sweep, read_shared
from hamcache.pipeline.studies.sweeps.sweep_config import structures

POLICIES = [
    {"train": train, "predict": predict, "pairing": pairing}
    for train, predict, pairing in (
        ("plain", "plain", "shared"),
        ("plain", "mean", "independent"),
        ("all", "first", "shared"),
        ("all", "plain", "independent"),
        ("random", "mean", "shared"),
        ("random", "first", "independent"),
    )
]
LR = {"head.lr": {"loguniform": [1e-3, 1e-1]}}


@pytest.fixture
def two_views(world):
    """Two views of two backbones, and the plain images of one more."""
    for name in ("net_a", "net_b"):
        world.extract(name, "flip", 2)
        world.extract(name, "rotate", 2)
        world.extract(name)
    return world


def blocks(augmentation: str) -> list[dict]:
    return [{"backbone": name, "augmentation": augmentation, "views": 2} for name in ("net_a", "net_b")]


@pytest.mark.parametrize("augmentation", ["flip", "rotate"])
def test_trials_see_the_very_rows_that_runs_see(augmentation: str, two_views, sweep_of) -> None:
    settings = sweep_of(
        {"features.views": {"choice": POLICIES}},
        experiment={"features": {"blocks": blocks(augmentation)}, "head": "mlp"},
    )
    shared = read_shared(settings, open_sweep(settings, two_views.workspace), print)
    for config in structures(settings):
        inputs = open_inputs(config, two_views.workspace)
        (split,) = make_splits(config, inputs.table)
        parts = parts_of(split, inputs.table, ["train", "validation"], {})
        policy = config.features.views
        ids = [image_id for part in parts.values() for image_id in part.ids]
        own, theirs = inputs.load(config.features, ids), shared.inputs.load(config.features, ids)
        for name, joined in (("train", lambda a, p: training_views(a, p, 0)), ("validation", prediction_views)):
            assert shared.folds_of(config)[0][name].ids == parts[name].ids
            mine, other = ([block.arrays(parts[name].ids) for block in each] for each in (own, theirs))
            np.testing.assert_array_equal(joined(mine, policy), joined(other, policy))
            assert [block.dim for block in own] == [block.dim for block in theirs]


def test_a_part_is_a_slice_and_no_copy(two_views, sweep_of) -> None:
    settings = sweep_of(LR, experiment={"features": {"blocks": blocks("flip")}, "head": "mlp"})
    shared = read_shared(settings, open_sweep(settings, two_views.workspace), print)
    config = next(structures(settings))
    for block in shared.inputs.blocks_of(config.features):
        assert isinstance(block, SharedBlock) and block.store is None
        for part in shared.folds_of(config)[0].values():
            assert np.shares_memory(block.arrays(part.ids).views, block._views)
        assert block.bytes == block._views.nbytes
        mixed = part.ids[::-1]
        np.testing.assert_array_equal(block.arrays(mixed).views, block.arrays(part.ids).views[::-1])


def test_the_test_part_is_not_even_read(world, sweep_of) -> None:
    world.extract()
    settings = sweep_of({"seed": {"int": [0, 3]}} | LR, experiment={"features": "net_a", "head": "mlp"})
    shared = read_shared(settings, open_sweep(settings, world.workspace), print)
    (test_part,) = {
        tuple(split.ids("test")) for config in structures(settings) for split in make_splits(config, world.table())
    }
    (block,) = shared.inputs.blocks.values()
    assert test_part and not set(test_part) & set(block._row_of)
    assert all(set(parts) == {"train", "validation"} for folds in shared.folds.values() for parts in folds)
    assert len(shared.folds) == 4
    with pytest.raises(FeaturesError, match="read before the trials"):
        block.load(list(test_part), {})


def test_missing_features_of_all_choices_are_named_at_once(world, sweep_of) -> None:
    world.extract()
    settings = sweep_of({"features": {"choice": ["net_a", "net_a+net_x", "net_y"]}}, experiment={"head": "mlp"})
    with pytest.raises(MissingFeaturesError, match="--backbones net_x,net_y"):
        open_sweep(settings, world.workspace)


def test_a_head_of_ones_own_that_could_not_be_kept_is_refused_before_any_trial(world, sweep_of) -> None:
    world.extract()
    process = "sklearn.gaussian_process:GaussianProcessClassifier"
    settings = sweep_of({"head": {"choice": ["logreg", process]}}, experiment={"features": "net_a"})
    with pytest.raises(OwnHeadError, match=r"--trust sklearn\.gaussian_process"):
        open_sweep(settings, world.workspace)


def test_other_features_are_other_data(world, own_world, sweep_of) -> None:
    world.extract()
    settings = sweep_of(LR, experiment={"features": "net_a", "head": "mlp"})
    before = open_sweep(settings, world.workspace).fingerprint
    assert open_sweep(settings, world.workspace).fingerprint == before
    world.extract(precision="bf16")
    other = sweep_of(LR, "features.precision=bf16", experiment={"features": "net_a", "head": "mlp"})
    assert open_sweep(other, world.workspace).fingerprint != before
    own_world.extract()
    elsewhere = sweep_of(LR, f"dataset={own_world.csv}", experiment={"features": "net_a", "head": "mlp"})
    first = open_sweep(elsewhere, own_world.workspace).fingerprint
    for image in (own_world.csv.parent / "images").iterdir():
        image.write_text(f"other pixels of {image.name}")
    assert open_sweep(elsewhere, own_world.workspace).fingerprint != first


def test_features_that_are_not_finite_are_refused_before_any_trial(world, sweep_of, monkeypatch) -> None:
    world.extract()
    monkeypatch.setattr(
        "hamcache.pipeline.experiment.feature_blocks.read_checked",
        lambda store, ids, *_: np.full((len(ids), 1, 8), np.nan, np.float32),
    )
    settings = sweep_of(LR, experiment={"features": "net_a", "head": "mlp"})
    opened = open_sweep(settings, world.workspace)
    with pytest.raises(FeaturesError, match="finite"):
        read_shared(settings, opened, print)
