"""Heads as scikit-learn's own checks and tools use them; without blocks and class names they take what they get."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from hamcache.heads.blocks import BlockTransformer
from hamcache.heads.errors import FeatureShapeError, UnknownNameError
from hamcache.heads.zoo import HEADS, build_head
from tests.heads.test_zoo import SMALL

IN_OTHER_WORDS = "our message says it in other words"
FOR_ALL = {
    "check_n_features_in_after_fitting": IN_OTHER_WORDS,
    "check_estimators_empty_data_messages": IN_OTHER_WORDS,
}
NOT_PASSED = {
    "rbf_svm": {"check_fit2d_1sample": IN_OTHER_WORDS},
    "lda": {
        "check_fit2d_1sample": IN_OTHER_WORDS,
        "check_classifiers_one_label": "a discriminant of one class there is none",
        "check_class_weight_classifiers": "its weights are priors: none or balanced, no numbers",
    },
}
"""Checks that a head does not pass, and why."""
CHECKED = {
    "logreg": build_head("logreg", {}),
    "lda": build_head("lda", {}),
    "rbf_svm": build_head("rbf_svm", {"n_folds": 2}),
    "average": build_head("average", {}),
    "mlp": build_head("mlp", {"max_epochs": 12, "hidden": [8], "lr": 0.02, "batch_size": 32}),
}
"""Heads of each kind; the others are estimators of the same classes."""


def excused(head):
    name = next(name for name, checked in CHECKED.items() if repr(checked) == repr(head))
    return FOR_ALL | NOT_PASSED.get(name, {})


@parametrize_with_checks(list(CHECKED.values()), expected_failed_checks=excused)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_every_head_takes_names_of_classes_and_frames_and_cross_validates_by_groups(name, features):
    X, y = features(n=160, views=1)
    names = np.array(["nv", "mel", "bcc", "df"])[y]
    frame = pd.DataFrame(X[:, 0]).add_prefix("feature")
    head = build_head(name, SMALL.get(name, {}), seed=3)
    groups = np.arange(160) // 2
    proba = cross_val_predict(head, frame, names, groups=groups, cv=GroupKFold(2), method="predict_proba")
    ordered = np.unique(names)
    assert (ordered[proba.argmax(axis=1)] == names).mean() > 0.7
    fitted = head.fit(frame, pd.Series(names))
    assert list(fitted.classes_) == list(ordered) and list(fitted.feature_names_in_) == list(frame)
    assert fitted.score(frame, names) > 0.8


def test_a_search_finds_parameters_of_a_head_inside_a_pipeline(blocks, features):
    X, y = features(n=160, views=1)
    pipeline = make_pipeline(StandardScaler(), build_head("logreg", {}, blocks=blocks, classes=("a", "b", "c", "d")))
    grid = {"estimatorhead__classifier__C": [1e-6, 0.1], "estimatorhead__class_weight": ["none"]}
    pipeline.set_output(transform="pandas")
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(2)).fit(X[:, 0], y, groups=np.arange(160) // 2)
    assert search.best_params_["estimatorhead__classifier__C"] == 0.1
    votes = VotingClassifier([("a", build_head("logreg", {})), ("b", build_head("lda", {}))], voting="soft")
    assert votes.fit(X[:, 0], y).score(X[:, 0], y) > 0.8


def test_transformed_blocks_are_frames_with_names_where_that_is_asked_for(features):
    X, _ = features(n=40, views=1)
    blocks = BlockTransformer((20, 12), ("pca:3", "standardize")).set_output(transform="pandas")
    frame = blocks.fit_transform(X[:, 0])
    assert list(frame)[:4] == ["block0_0", "block0_1", "block0_2", "block1_0"] and frame.shape == (40, 15)


def test_names_of_classes_keep_the_order_that_was_given(blocks, features):
    X, y = features(n=120)
    classes = ("nv", "mel", "bcc", "df")
    head = build_head("logreg", {}, blocks=blocks, classes=classes)
    by_code = head.fit(X, y).predict_proba(X)
    assert head.predict(X).dtype == np.int64
    np.testing.assert_array_equal(head.fit(X, np.array(classes)[y]).predict_proba(X), by_code)
    assert list(head.classes_) == list(classes) and head.predict(X)[0] in classes
    with pytest.raises(UnknownNameError, match="did you mean 'mel'"):
        head.fit(X, np.where(y == 1, "mell", np.array(classes)[y]))
    with pytest.raises(FeatureShapeError, match="labels of classes"):
        build_head("logreg", {}).fit(X, y + 0.5)
