import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from hamcache.heads.errors import HeadParamsError
from hamcache.heads.logistic_path import logistic_path
from hamcache.heads.metrics import METRICS, get_metric
from hamcache.heads.params import LogregPathParams
from hamcache.heads.zoo import build_head
from tests.heads.conftest import CLASSES

CS = (1e-3, 0.03, 1.0)


def loss(classifier, rows, y, weight) -> float:
    """What logistic regression minimises, in float64."""
    scores = rows.astype(np.float64) @ classifier.coef_.T + classifier.intercept_
    if scores.shape[1] == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
    fit = -(weight @ log_softmax(scores, axis=1)[np.arange(len(y)), y])
    return fit + (classifier.coef_.astype(np.float64) ** 2).sum() / (2 * classifier.C)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(12, 150),
    dim=st.integers(1, 60),
    classes=st.integers(3, 5),
    seed=st.integers(0, 99),
    same=st.booleans(),
)
def test_each_penalty_ends_at_the_minimum_of_scikit_learn(
    n: int, dim: int, classes: int, seed: int, same: bool
) -> None:
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    rows = (random.normal(size=(n, dim)) + random.normal(size=(classes, dim))[y]).astype(np.float32)
    if same:
        rows[:, dim // 2 :] = rows[:, [0]]  # columns that say the same, and constant ones
        rows[:, -1] = 3
    weight = random.uniform(0.2, 3, n)
    for C, ours in zip(CS, logistic_path(rows, y, weight, CS), strict=True):
        theirs = LogisticRegression(C=C, max_iter=5000, tol=1e-6).fit(rows.astype(np.float64), y, sample_weight=weight)
        best = loss(theirs, rows, y, weight)
        assert ours.C == C and loss(ours, rows, y, weight) <= best * (1 + 1e-3) + 1e-3
        assert np.abs(ours.predict_proba(rows) - theirs.predict_proba(rows)).max() < 0.02


def test_penalties_do_not_depend_on_their_company(features) -> None:
    X, y = features(views=1)
    alone = logistic_path(X[:, 0], y, np.ones(len(y)), [0.03])[0]
    among = logistic_path(X[:, 0], y, np.ones(len(y)), CS)[1]
    np.testing.assert_allclose(alone.coef_, among.coef_, atol=2e-3)


def test_the_penalty_kept_is_the_best_on_validation(blocks, features) -> None:
    X, y = features(n=120, spread=0.15)
    held_out, codes = features(n=200, spread=0.15, seed=1)
    head = build_head("logreg_path", {"Cs": [1e-5, 0.01, 10], "choose_by": "nll"}, blocks=blocks, classes=CLASSES)
    head.fit(X, y, validation=(held_out, codes))
    best = min(head.path_, key=lambda row: row["nll"])
    assert best["C"] == head.classifier_.C and [row["C"] for row in head.path_] == [1e-5, 0.01, 10]
    assert get_metric("nll")(codes, head.predict_proba(held_out)) == pytest.approx(best["nll"], abs=1e-6)
    assert "C 10 " in head.notes_[0]


def test_without_validation_it_is_chosen_out_of_fold_and_fitted_on_all(blocks, features) -> None:
    X, y = features(n=150)
    lesions = np.arange(150) // 2
    head = build_head("logreg_path", {"Cs": [1e-6, 0.1]}, blocks=blocks, classes=CLASSES).fit(X, y, groups=lesions)
    one = build_head("logreg_path", {"Cs": [0.1]}, blocks=blocks, classes=CLASSES).fit(X, y, validation=(X, y))
    assert head.classifier_.C == 0.1
    np.testing.assert_array_equal(head.predict_proba(X), one.predict_proba(X))


def test_any_metric_of_all_classes_can_choose() -> None:
    assert set(LogregPathParams.model_fields["choose_by"].annotation.__args__) == set(METRICS)
    with pytest.raises(HeadParamsError, match="choose_by"):
        build_head("logreg_path", {"choose_by": "mc"}, blocks=[], classes=CLASSES)
