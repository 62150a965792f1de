import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from hamcache.heads.base import BaseHead
from hamcache.heads.blocks import Block
from hamcache.heads.errors import (
    ClassAbsentError,
    FeatureShapeError,
    HeadParamsError,
    NotFiniteFeaturesError,
    TooFewImagesError,
    UnknownHeadError,
    UnknownNameError,
)
from hamcache.heads.persist import load_head, save_head
from hamcache.heads.views import ViewPolicy
from hamcache.heads.zoo import HEADS, build_head, head_params

CLASSES = ("akiec", "bcc", "bkl", "df")
# Small editions, so that the whole zoo is tried in seconds.
SMALL = {
    "random_forest": {"n_estimators": 20},
    "extra_trees": {"n_estimators": 20},
    "hist_gbdt": {"max_iter": 10},
    "mlp": {"max_epochs": 12, "hidden": [16], "lr": 0.01},
    "hybrid_mlp": {"max_epochs": 12, "embedding_dim": 8, "lr": 0.02, "dropout": 0.1, "batch_size": 32},
    "linear_svm": {"C": 0.01},
    "stack": {"heads": [{"name": "logreg"}, {"name": "lda"}], "n_folds": 3},
}


def small(name: str, blocks: list[Block], **params) -> BaseHead:
    return build_head(name, SMALL.get(name, {}) | params, blocks=blocks, classes=CLASSES, seed=3)


@pytest.fixture(params=sorted(HEADS))
def name(request) -> str:
    return request.param


def test_every_head_learns_gives_probabilities_and_survives_saving(name, blocks, features, tmp_path):
    X, y = features()
    X_test, y_test = features(seed=1)
    head = small(name, blocks).fit(X, y)
    probabilities = head.predict_proba(X_test)
    assert probabilities.shape == (len(X_test), 4)
    assert probabilities.dtype == np.float64
    assert np.isfinite(probabilities).all() and (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert accuracy_score(y_test, head.predict(X_test)) > 0.85

    save_head(head, tmp_path)
    np.testing.assert_array_equal(load_head(tmp_path).predict_proba(X_test), probabilities)


def test_every_head_is_a_scikit_learn_estimator(name, blocks, features):
    X, y = features(n=160, views=1)
    head = small(name, blocks)
    assert repr(clone(head).get_params(deep=False)) == repr(head.get_params(deep=False))
    pipeline = make_pipeline(FunctionTransformer(), head)
    assert cross_val_score(pipeline, X[:, 0], y, cv=2).mean() > 0.7


def test_every_head_gives_the_same_bits_for_the_same_seed_and_leaves_global_generators_alone(name, blocks, features):
    torch = pytest.importorskip("torch")
    X, y = features(n=120)
    np.random.seed(7)  # noqa: NPY002  (what a careless head would draw from)
    torch.manual_seed(7)
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = small(name, blocks).fit(X, y).predict_proba(X)
    second = small(name, blocks).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_every_head_averages_probabilities_over_views(name, blocks, features):
    X, y = features(n=120, views=3)
    head = small(name, blocks).fit(X, y)
    together = head.predict_proba(X[:10])
    if name == "stack":  # its top sees the members' averages
        return
    apart = np.mean([head.predict_proba(X[:10, view]) for view in range(3)], axis=0)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-6)


def test_every_head_refuses_a_class_without_training_images(name, blocks, features):
    X, y = features(n=80)
    with pytest.raises(ClassAbsentError, match="no image of: bkl"):
        small(name, blocks).fit(X[y != 2], y[y != 2])


def test_every_head_refuses_nan_features_and_names_the_rows(name, blocks, features):
    X, y = features(n=80)
    X[5, 1, 3] = np.nan
    with pytest.raises(NotFiniteFeaturesError, match="rows 5"):
        small(name, blocks).fit(X, y)


def test_every_head_takes_read_only_features_and_leaves_them_alone(name, blocks, features):
    X, y = features(n=80)
    before = X.copy()
    X.setflags(write=False)
    small(name, blocks).fit(X, y, validation=(X, y), policy=ViewPolicy(train="random")).predict_proba(X)
    np.testing.assert_array_equal(X, before)


def test_every_head_works_with_two_classes(name, features):
    X, y = features(classes=2)
    head = build_head(name, SMALL.get(name, {}), blocks=[Block("a", 32)], classes=("no", "yes"))
    assert accuracy_score(y, head.fit(X, y).predict(X)) > 0.85


def test_views_count_as_much_as_one_image(blocks, features):
    X, y = features(views=1)
    repeated = np.repeat(X, 3, axis=1)
    for name in ("logreg", "ridge", "linear_svm", "gaussian_nb"):
        once, thrice = small(name, blocks).fit(X, y), small(name, blocks).fit(repeated, y)
        np.testing.assert_allclose(once.predict_proba(X), thrice.predict_proba(repeated), atol=5e-3, err_msg=name)


@pytest.mark.parametrize("name", ["logreg", "ridge", "rbf_svm", "knn", "lda", "gaussian_nb", "mlp", "random_forest"])
def test_balanced_weights_find_more_of_the_rarest_class(name, blocks, features):
    X, y = features(n=400, spread=0.15)
    found = {
        weight: (
            small(name, blocks, class_weight=weight).fit(X, y).predict(features(seed=1, spread=0.15)[0]) == 3
        ).sum()
        for weight in ("none", "balanced")
    }
    assert found["balanced"] > found["none"]


def test_groups_never_straddle_the_calibration_folds(blocks, features):
    # Twins under one group id: with them on both sides the forest of neighbours would look far too sure.
    X, y = features(n=150, spread=0.1, views=1)
    X, y, lesions = np.repeat(X, 2, axis=0), np.repeat(y, 2), np.repeat(np.arange(150), 2)
    params = {"C": 100.0, "gamma": 0.05}
    apart = small("rbf_svm", blocks, **params).fit(X, y, groups=lesions)
    straddling = small("rbf_svm", blocks, **params).fit(X, y)
    assert apart.calibrator_.temperature_ > 1.5 * straddling.calibrator_.temperature_


def test_average_is_one_head_per_block_by_default(blocks, features):
    X, y = features()
    average = build_head("average", {}, blocks=blocks, classes=CLASSES).fit(X, y)
    alone = [
        build_head("logreg", {}, blocks=[block], classes=CLASSES).fit(part, y).predict_proba(part)
        for block, part in zip(blocks, (X[..., :20], X[..., 20:]), strict=True)
    ]
    np.testing.assert_allclose(average.predict_proba(X), np.mean(alone, axis=0), atol=1e-5)


def test_members_take_their_own_parameters_and_blocks(blocks):
    params = {"heads": [{"name": "knn", "blocks": ["b"], "n_neighbors": 3}, {"name": "logreg", "C": 1.0}]}
    knn, logreg = build_head("average", params, blocks=blocks, classes=CLASSES).members
    assert knn.classifier.n_neighbors == 3
    assert knn.blocks.transforms == ("drop", "standardize")
    assert logreg.classifier.C == 1.0


def test_unknown_names_are_answered_with_the_nearest_valid_one(blocks):
    with pytest.raises(UnknownHeadError, match="did you mean 'logreg'"):
        head_params("logregg")
    with pytest.raises(HeadParamsError, match="did you mean 'class_weight'"):
        build_head("logreg", {"clas_weight": "none"}, blocks=blocks, classes=CLASSES)
    with pytest.raises(HeadParamsError, match="did you mean 'focal'"):
        build_head("mlp", {"loss": "focall"}, blocks=blocks, classes=CLASSES)
    with pytest.raises(HeadParamsError, match="did you mean 'gamma'"):
        build_head("mlp", {"loss": "focal", "loss_params": {"gama": 1}}, blocks=blocks, classes=CLASSES)
    with pytest.raises(UnknownNameError, match="did you mean 'a'"):
        build_head("average", {"heads": [{"blocks": ["a1"]}]}, blocks=blocks, classes=CLASSES)
    with pytest.raises(UnknownHeadError, match="did you mean 'knn'"):
        build_head("average", {"heads": [{"name": "knnn"}]}, blocks=blocks, classes=CLASSES)


def test_unfit_values_are_refused(blocks):
    with pytest.raises(HeadParamsError, match="greater than 0"):
        build_head("logreg", {"C": -1}, blocks=blocks, classes=CLASSES)
    with pytest.raises(HeadParamsError, match="class_weight"):
        build_head("logreg", {"class_weight": "balancd"}, blocks=blocks, classes=CLASSES)


def test_every_parameter_has_a_default_and_every_head_a_description(name):
    assert HEADS[name].description
    HEADS[name].params()


def test_wrong_shapes_and_codes_are_refused(blocks, features):
    X, y = features(n=80)
    head = small("logreg", blocks)
    with pytest.raises(FeatureShapeError, match="integer class codes"):
        head.fit(X, y.astype(float))
    with pytest.raises(FeatureShapeError, match="from 0 to 3"):
        head.fit(X, y + 1)
    with pytest.raises(FeatureShapeError, match="Expected 32 feature columns"):
        head.fit(X, y).predict_proba(X[..., :30])
    with pytest.raises(FeatureShapeError, match="Expected 32 feature columns"):
        head.fit(X[..., :30], y)


def test_a_class_with_one_image_cannot_be_calibrated_and_says_so(blocks, features):
    X, y = features(n=80)
    y = np.where(y == 3, 0, y)
    y[0] = 3
    with pytest.raises(TooFewImagesError, match="1 of df"):
        small("ridge", blocks).fit(X, y)


def test_heads_without_a_network_do_not_import_torch():
    code = (
        "import sys; from hamcache.heads.blocks import Block; from hamcache.heads.zoo import build_head;"
        "build_head('logreg', {}, blocks=[Block('a', 3)], classes=('x', 'y')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
