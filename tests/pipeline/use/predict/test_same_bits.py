"""The same image through `predict` and through the cache: the same features to the last bit, the same probabilities."""

import numpy as np
import pytest

from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.image_sources import find_sources
from hamcache.pipeline.use.predict.predictor import Question
from tests.pipeline.use.predict.conftest import CNN, FINE, NET, OTHER, PRECISIONS, Photographs, probabilities


def same_features(photographs: Photographs, run: Run) -> None:
    """Features of validation images, one block after the other, against what the stores hold."""
    model = photographs.predictor(run).model
    ids = list(run.part("validation")["image_id"])
    scored = model(find_sources(photographs.paths(run, "validation")))
    for source, block in zip(model.sources, scored.blocks, strict=True):
        assert source.store is not None and block.views.shape[1] == source.views
        np.testing.assert_array_equal(block.views, source.store.read(ids, list(range(source.views))))


def same_probabilities(photographs: Photographs, run: Run, part: str = "validation") -> None:
    predicted = photographs.predictor(run).predict(photographs.paths(run, part), Question(raw=True))
    np.testing.assert_array_equal(probabilities(predicted), run.probabilities(part))


FP32, BF16 = PRECISIONS
PLAIN_TOO = "features.views.predict=plain"
POLICIES: dict[str, tuple[list[tuple[str, str, int]], list[str]]] = {
    "the plain image": ([(NET, "none", 1)], []),
    "all views": ([(NET, "dihedral", 4)], []),
    "the first view": ([(NET, "dihedral", 4)], ["features.views.predict=first", "head.C=0.1"]),
    "random views": ([(NET, "original", 3)], ["features.aug_seed=5"]),
    "trained on random views": ([(NET, "original", 2)], [PLAIN_TOO, "features.aug_seed=5"]),
    "a random recipe never used": ([(NET, "original", 1)], [PLAIN_TOO, "features.views.train=plain"]),
    "two kinds": ([(f"{NET}:stages", "flip", 2), (NET, "flip", 2)], ["tau=0.5"]),
    "independent": ([(NET, "flip", 4), (OTHER, "dermoscopy", 3)], ["features.views.pairing=independent", "tau=auto"]),
    "views and the plain image": ([(NET, "dihedral", 4), (OTHER, "none", 1)], ["head=ridge"]),
}
IN_BF16 = ("the plain image", "random views", "views and the plain image")


@pytest.mark.parametrize(
    ("policy", "precision"),
    [*((policy, FP32) for policy in POLICIES), *(pytest.param(p, "bf16", marks=BF16.marks) for p in IN_BF16)],
)
def test_every_view_policy_gives_the_bits_of_the_cache(photographs: Photographs, policy: str, precision: str) -> None:
    blocks, overrides = POLICIES[policy]
    overrides = [*overrides, f"features.precision={precision}"]
    seed = 5 if "features.aug_seed=5" in overrides else 0
    photographs.extract(*blocks, precision=precision, seed=seed)
    if PLAIN_TOO in overrides:
        photographs.extract((NET, "none", 1), precision=precision)
    run = photographs.run(*overrides, blocks=blocks)
    same_features(photographs, run)
    same_probabilities(photographs, run)


def test_features_of_a_run_on_shorter_numbers_are_rounded_as_its_stores(photographs: Photographs) -> None:
    photographs.extract((NET, "flip", 2), storage="float16")
    run = photographs.run("features.storage=float16", blocks=[(NET, "flip", 2)])
    same_features(photographs, run)
    same_probabilities(photographs, run)


def test_one_image_alone_gets_the_features_it_gets_among_others(photographs: Photographs) -> None:
    run = photographs.run()
    model = photographs.predictor(run).model
    paths = photographs.paths(run, "validation")
    together = model(find_sources(paths)).blocks[0].views
    alone = np.concatenate([model(find_sources([path])).blocks[0].views for path in paths[::4]])
    np.testing.assert_array_equal(alone, together[::4])


def test_an_mlp_predicts_what_it_predicted_when_it_was_trained(photographs: Photographs) -> None:
    photographs.extract((NET, "dihedral", 4))
    settings = ["head=mlp", "head.max_epochs=3", "head.hidden=[8]", "features.views.train=random"]
    same_probabilities(photographs, photographs.run(*settings, blocks=[(NET, "dihedral", 4)]))


def test_a_cross_validated_run_predicts_the_mean_of_its_heads(photographs: Photographs) -> None:
    run = photographs.run("split.policy=grouped", "split.folds=2", "tau=0.25", test=True)
    predicted = photographs.predictor(run).predict(photographs.paths(run, "test"), Question(raw=True))
    np.testing.assert_allclose(probabilities(predicted), run.probabilities("test"), rtol=0, atol=1e-15)


def test_views_of_random_recipes_are_drawn_by_the_image_id_not_by_the_file_name(
    photographs: Photographs, tmp_path
) -> None:
    photographs.extract((NET, "original", 3))
    run = photographs.run(blocks=[(NET, "original", 3)])
    paths, ids = photographs.paths(run, "validation"), list(run.part("validation")["image_id"])
    copies = [tmp_path / f"copy{number}.jpg" for number in range(len(paths))]
    for copy, path in zip(copies, paths, strict=True):
        copy.write_bytes(path.read_bytes())
    predictor = photographs.predictor(run)
    named = probabilities(predictor.predict(copies, Question(raw=True), ids=ids))
    np.testing.assert_array_equal(named, run.probabilities("validation"))
    assert (probabilities(predictor.predict(copies, Question(raw=True))) != named).any()


@pytest.mark.parametrize(
    ("net", "overrides"),
    [
        (CNN, []),
        (CNN, ["net.predict_augmentation=dihedral", "net.predict_views=4", "tau=0.5"]),
        (FINE, []),
        ({**FINE, "stored_side": 24}, ["split.policy=grouped", "split.folds=2"]),
    ],
)
def test_a_net_predicts_what_it_predicted_when_it_was_trained(
    photographs: Photographs, net: dict, overrides: list[str]
) -> None:
    """Not bit for bit: a net's batches are as large as there are images."""
    run = photographs.run(*overrides, blocks=(), net=net, test=True)
    predicted = photographs.predictor(run).predict(photographs.paths(run, "test"), Question(raw=True))
    np.testing.assert_allclose(probabilities(predicted), run.probabilities("test"), rtol=0, atol=1e-6)


def test_two_files_of_one_name_are_two_images(photographs: Photographs, tmp_path) -> None:
    """Chunks of a net and draws of a recipe go by id: images of the same id must not take each other's place."""
    run = photographs.run(blocks=(), net=CNN, test=True)
    first, second = photographs.paths(run, "test")[:2]
    (tmp_path / first.name).write_bytes(second.read_bytes())
    for one in (run, photographs.run()):
        predictor = photographs.predictor(one)
        apart = [predictor.predict([path], Question(raw=True))[0] for path in (first, second)]
        together = predictor.predict([first, tmp_path / first.name], Question(raw=True))
        np.testing.assert_allclose(probabilities(together), probabilities(apart), rtol=0, atol=1e-6)
