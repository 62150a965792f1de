import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier

from hamcache.heads.class_weights import class_weights
from hamcache.heads.errors import HeadParamsError
from hamcache.heads.knn import CosineKNN
from hamcache.heads.temperature import TemperatureScaling

COUNTS = np.array([60, 30, 10])
CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("temperature", [0.05, 1.0, 40.0])
def test_the_temperature_is_found_whatever_the_scale_of_the_scores(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(20000, 3))
    y = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((20000, 1))).sum(axis=1)
    scaling = TemperatureScaling().fit(logits * temperature, y)
    assert scaling.temperature_ == pytest.approx(temperature, rel=0.05)
    probabilities = scaling.predict_proba(logits * temperature)
    assert log_loss(y, probabilities) <= log_loss(y, softmax(logits, axis=1)) + 1e-6
    assert (probabilities.argmax(1) == logits.argmax(1)).all()


def test_class_weights_have_mean_one_over_the_images():
    for weight in ("none", "balanced", [1, 2, 3], {"c": 5.0, "a": 1.0, "b": 1.0}):
        factors = class_weights(weight, COUNTS, CLASSES)
        assert (factors * COUNTS).sum() == pytest.approx(COUNTS.sum())
    np.testing.assert_allclose(class_weights("balanced", COUNTS, CLASSES) * COUNTS, 100 / 3)
    assert class_weights({"c": 5.0, "a": 1.0, "b": 1.0}, COUNTS, CLASSES).argmax() == 2
    with pytest.raises(HeadParamsError, match="none, balanced"):
        class_weights("balancd", COUNTS, CLASSES)


def test_neighbours_are_those_scikit_learn_finds():
    rng = np.random.default_rng(0)
    X, y, queries = rng.normal(size=(300, 8)), rng.integers(0, 3, 300), rng.normal(size=(50, 8))
    reference = KNeighborsClassifier(7, metric="cosine").fit(X, y).predict_proba(queries)
    votes = CosineKNN(7, temperature=1e6, smoothing=0.0).fit(X, y).predict_proba(queries)
    np.testing.assert_allclose(votes, reference, atol=1e-5)


def test_no_class_gets_probability_zero_from_its_neighbours():
    X = np.repeat(np.eye(3), 30, axis=0)
    y = np.repeat([0, 1, 2], 30)
    probabilities = CosineKNN(5).fit(X, y).predict_proba(X)
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
