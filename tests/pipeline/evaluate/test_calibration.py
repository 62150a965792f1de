import numpy as np
import pytest
from scipy.special import softmax

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.evaluate.calibration import fit_temperature


def drawn(temperature: float, n: int = 6000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits / temperature), and the probabilities softmax(logits) of a head."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, 4))
    true = softmax(logits / temperature, axis=1)
    y = (true.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return softmax(logits, axis=1), y


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(true: float) -> None:
    proba, y = drawn(true)
    temperature = fit_temperature(proba, y)
    assert temperature.value == pytest.approx(true, rel=0.06)
    assert METRICS["ece"](y, temperature(proba)) < 0.03
    assert temperature.images == len(y)


def test_the_order_of_the_classes_and_the_sum_stay() -> None:
    proba, y = drawn(3.0, 300)
    scaled = fit_temperature(proba, y)(proba)
    np.testing.assert_array_equal(scaled.argsort(axis=1), proba.argsort(axis=1))
    np.testing.assert_allclose(scaled.sum(axis=1), 1)


def test_a_head_that_makes_no_mistake_is_not_made_infinitely_sure() -> None:
    y = np.arange(30) % 3
    proba = np.full((30, 3), 0.1)
    proba[np.arange(30), y] = 0.8
    scaled = fit_temperature(proba, y)(proba)
    assert 0.8 < scaled.max() < 0.999


def test_zeros_on_the_true_class_are_no_infinity() -> None:
    """A forest is sometimes sure and wrong: its temperature is finite, and its probabilities are no longer zero."""
    y = np.arange(40) % 2
    proba = np.eye(2)[np.where(np.arange(40) < 4, 1 - y, y)]
    temperature = fit_temperature(proba, y)
    assert np.isfinite(temperature.value) and 0.5 < temperature(proba).max() < 0.99


def test_the_error_after_scaling_is_measured_on_lesions_that_were_not_fitted() -> None:
    """Ten photographs of a lesion and coin-toss labels a lesion: held out, scaling cannot look better than it is."""
    rng = np.random.default_rng(1)
    lesion = np.repeat(np.arange(30), 10)
    proba, y = np.tile([0.9, 0.1], (300, 1)), rng.integers(0, 2, 30)[lesion]
    by_lesion, by_image = fit_temperature(proba, y, lesion), fit_temperature(proba, y)
    assert by_lesion.value == by_image.value
    assert by_lesion.ece_before == by_image.ece_before == pytest.approx(abs(0.9 - (y == 0).mean()))
    assert by_lesion.ece_after > by_image.ece_after
