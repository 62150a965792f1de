import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from hamcache.heads.logit_adjustment import LogitAdjusted, adjusted
from hamcache.heads.persist import load_head, save_head
from hamcache.heads.zoo import build_head

CLASSES = ("akiec", "bcc", "bkl", "df")


def balanced_accuracy(y, probabilities):
    return balanced_accuracy_score(y, probabilities.argmax(axis=1))


@pytest.fixture
def head(blocks, features):
    X, y = features(n=400, spread=0.12)
    return build_head("logreg", {"class_weight": "none"}, blocks=blocks, classes=CLASSES).fit(X, y)


def test_tau_one_undoes_the_prior():
    prior = np.array([0.7, 0.2, 0.1])
    likelihood = np.array([[0.2, 0.5, 0.3]])
    posterior = likelihood * prior / (likelihood @ prior)
    np.testing.assert_allclose(adjusted(posterior, prior, 1.0), likelihood)
    np.testing.assert_allclose(adjusted(posterior, prior, 0.0), posterior)


def test_an_adjusted_head_is_kept_with_its_tau(head, features, tmp_path):
    X_valid, y_valid = features(n=300, spread=0.12, seed=5)
    tuned = LogitAdjusted.of_fitted(head, 0.5)
    assert balanced_accuracy(y_valid, tuned.predict_proba(X_valid)) > balanced_accuracy(
        y_valid, head.predict_proba(X_valid)
    )
    np.testing.assert_allclose(tuned.predict_proba(X_valid).sum(axis=1), 1)

    save_head(tuned, tmp_path)
    loaded = load_head(tmp_path)
    assert loaded.tau == tuned.tau
    np.testing.assert_array_equal(loaded.predict_proba(X_valid), tuned.predict_proba(X_valid))


def test_an_adjusted_head_can_be_trained_as_a_whole(head, features):
    X, y = features(n=400, spread=0.12)
    whole = LogitAdjusted(head, 0.5).fit(X, y)
    np.testing.assert_allclose(whole.predict_proba(X), adjusted(head.predict_proba(X), head.prior_, 0.5))
