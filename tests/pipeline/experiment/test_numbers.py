"""Numbers that must not drift: what a head is fitted on, and the scores of a small fixed data set."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from joblib import hash as bits_of

from hamcache.heads.zoo import HEADS
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.learning import Part, fit_head
from hamcache.pipeline.experiment.preparation import Prepared, prepare
from hamcache.pipeline.experiment.runner import run_experiment

WATCHING = {"mlp", "hybrid_mlp", "logreg_path"}
"""Heads that stop, or choose, by their score on validation images, as they are meant to."""
QUICK = {
    "random_forest": ["head.n_estimators=20"],
    "extra_trees": ["head.n_estimators=20"],
    "mlp": ["head.max_epochs=4"],
}
QUICK |= {"hybrid_mlp": ["head.max_epochs=4"], "hist_gbdt": ["head.max_iter=10"]}
TRANSFORMS = ["standardize", "power", "pca:3"]


@pytest.fixture(scope="module")
def fixed(make_world) -> Any:
    """A world whose labels, features and split never change."""
    world = make_world()
    world.extract(skill=0.5)
    world.extract("net_b", "flip", views=2, skill=0.5)
    return world


def config(world: Any, head: str, *overrides: str) -> ExperimentConfig:
    blocks = [{"backbone": "net_a", "augmentation": "none"}, {"backbone": "net_b", "augmentation": "flip", "views": 2}]
    return world.config(f"head={head}", *QUICK.get(head, []), *overrides, base={"features": {"blocks": blocks}})


def poisoned(prepared: Prepared, names: Collection[str]) -> Mapping[str, Part]:
    """The parts, some of them with wrong labels and, in memory, with features that would drag any mean away."""
    (parts,) = prepared.folds
    blocks = prepared.inputs.load(prepared.config.features, [i for part in parts.values() for i in part.ids])
    for block in blocks:
        for name in names:
            rows = [block._row_of[image_id] for image_id in parts[name].ids]
            for array in (block._views, block._plain):
                if array is not None:
                    array.setflags(write=True)
                    array[rows] = 1e6 + np.arange(len(rows))[:, None, None]
    return {n: replace(p, y=(p.y + 1) % 3) if n in names else p for n, p in parts.items()}


def fitted(prepared: Prepared, parts: Mapping[str, Part]) -> Any:
    """Everything that a head has learned, without what it has measured on validation images."""
    head = fit_head(prepared.config, prepared.inputs, parts, log=lambda _: None, predict=[]).head
    return {name: value for name, value in vars(head).items() if name not in ("history_", "callbacks")}


@pytest.mark.parametrize("head", HEADS)
def test_what_a_head_learns_does_not_depend_on_images_that_are_not_for_training(head: str, fixed: Any) -> None:
    """Scalers, components, calibrators, class weights and the head itself, to the last bit."""
    asked = config(fixed, head)
    clean = prepare(asked, fixed.workspace, test=True)
    (parts,) = clean.folds
    learned = fitted(clean, parts)
    others = ["test"] if head in WATCHING else ["validation", "test"]
    dirty = prepare(asked, fixed.workspace, test=True)
    assert bits_of(fitted(dirty, poisoned(dirty, others))) == bits_of(learned)


def test_the_poison_would_be_noticed(fixed: Any) -> None:
    clean, dirty = (prepare(config(fixed, "logreg"), fixed.workspace, test=True) for _ in range(2))
    assert bits_of(fitted(dirty, poisoned(dirty, ["train"]))) != bits_of(fitted(clean, clean.folds[0]))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_blocks_are_transformed_by_training_rows_alone(transform: str, fixed: Any) -> None:
    asked = config(fixed, "logreg", f"features.blocks.0.transform={transform}")
    clean, dirty = (prepare(asked, fixed.workspace, test=True) for _ in range(2))
    assert bits_of(fitted(dirty, poisoned(dirty, ["validation", "test"]))) == bits_of(fitted(clean, clean.folds[0]))


def test_what_is_chosen_on_validation_images_never_sees_the_test_images(
    world: Any, make_world: Any, monkeypatch
) -> None:
    """Tau, thresholds and validation scores are the same, whatever the test images are."""
    world.extract(skill=0.6)
    asked = world.config("tau=auto", "head.class_weight=none")
    clean = run_experiment(asked, world.workspace, test=True)
    closed = set(clean.part("test")["image_id"])
    draw = world.extract.__globals__["noise"]
    monkeypatch.setitem(
        type(world).extract.__globals__, "noise", lambda *name: draw(*name) + (1e6 if name[1] in closed else 0)
    )
    other = make_world()
    other.extract(skill=0.6)
    dirty = run_experiment(other.config("tau=auto", "head.class_weight=none"), other.workspace, test=True)
    assert dirty.metrics["test"] != clean.metrics["test"] and dirty.provenance["tau"] == clean.provenance["tau"]
    assert (
        dirty.metrics["train"] == clean.metrics["train"] and dirty.metrics["validation"] == clean.metrics["validation"]
    )
    for part in ("train", "validation"):
        np.testing.assert_array_equal(dirty.probabilities(part), clean.probabilities(part))


RECORDED = {  # Matthews' coefficient and area under the curve, of validation images
    "logreg": (0.610, 0.918),
    "knn": (0.642, 0.897),
    "lda": (0.656, 0.912),
    "random_forest": (0.511, 0.848),
    "average": (0.610, 0.916),
}


@pytest.mark.parametrize("head", RECORDED)
def test_scores_of_a_fixed_data_set_are_those_that_were_recorded(head: str, fixed: Any) -> None:
    """A change here is a change of split, blocks, views, heads or metrics: say so, or find it."""
    metrics = run_experiment(config(fixed, head, "seed=1"), fixed.workspace).metrics["validation"]
    assert (metrics["mcc"], metrics["macro_auc"]) == pytest.approx(RECORDED[head], abs=0.001)
