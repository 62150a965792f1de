"""Probabilities that mean what they say: temperature scaling fitted on a run's validation predictions."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

from hamcache.heads.metrics import METRICS
from hamcache.heads.temperature import TemperatureScaling

SMALLEST = 1e-6
"""Probabilities are raised to this before the logarithm: a forest or k nearest neighbours give exact zeros."""
CHECK_FOLDS = 5


@dataclass(frozen=True)
class Temperature:
    """One number by which the log probabilities are divided; the order of the classes stays as it is.

    Attributes:
        value: Above 1 the head was too sure of itself, below 1 not sure enough.
        images: Validation images it was fitted on.
        ece_before: Expected calibration error of the head's own probabilities on them.
        ece_after: The same after scaling, each image scaled by a temperature fitted without its lesion's fold.
    """

    value: float
    images: int
    ece_before: float
    ece_after: float

    def __call__(self, proba: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64 `[n, C]`, of a run's own."""
        return scaled(proba, self.value)


def fit_temperature(proba: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Temperature:
    """Temperature scaling (Guo et al., ICML 2017) of a run's final probabilities.

    The targets are smoothed as Platt did (1999), with one image more of every class: a head that makes no mistake on
    a small validation part would otherwise be made infinitely sure.

    Args:
        proba: `[n, C]`, after averaging over views and folds, and after tau.
        y: int64 `[n]` codes.
        groups: `[n]` lesions, kept together when the error after scaling is measured (default: each image on its own).
    """
    lesions = np.arange(len(y)) if groups is None else np.asarray(groups)
    after = np.array(proba, dtype=np.float64)
    n_folds = min(CHECK_FOLDS, len(np.unique(lesions)))
    if n_folds > 1:
        for rest, fold in GroupKFold(n_folds).split(proba, y, lesions):
            after[fold] = scaled(proba[fold], _best(proba[rest], y[rest]))
    ece = METRICS["ece"]
    return Temperature(_best(proba, y), len(y), ece(y, np.asarray(proba)), ece(y, after))


def _best(proba: np.ndarray, y: np.ndarray) -> float:
    n, n_classes = proba.shape
    targets = np.full((n, n_classes), 1 / (n + n_classes))
    targets[np.arange(n), y] = (n + 1) / (n + n_classes)
    rows = np.repeat(_logs(proba), n_classes, axis=0)
    fitted = TemperatureScaling().fit(rows, np.tile(np.arange(n_classes), n), targets.ravel())
    return float(fitted.temperature_)


def scaled(proba: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities float64 `[n, C]` whose logarithms are divided by a temperature."""
    scaling = TemperatureScaling()
    scaling.temperature_ = temperature
    return scaling.predict_proba(_logs(proba))


def _logs(proba: np.ndarray) -> np.ndarray:
    return np.log(np.clip(np.asarray(proba, dtype=np.float64), SMALLEST, None))
