"""Probabilities for classifiers that only give scores, or that give badly calibrated probabilities."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator


class TemperatureScaling(BaseEstimator):
    """Softmax of `scores / temperature` (Guo et al., ICML 2017).

    One number, fitted by maximum likelihood on scores of rows the classifier did not train on; the order of the
    classes stays as it is.
    """

    def fit(self, scores: NDArray, y: NDArray[np.int64], weight: NDArray | None = None) -> Self:
        """Fit to out-of-fold scores [n, C] and codes [n] with row weights [n]."""
        spread = float(scores.std()) or 1.0

        def loss(log_temperature: float) -> float:
            log_p = log_softmax(scores / (spread * np.exp(log_temperature)), axis=1)
            return -float(np.average(log_p[np.arange(len(y)), y], weights=weight))

        # From a thousandth to a thousand times the scores' own spread: far beyond what scores of any use need.
        best = minimize_scalar(loss, bounds=(np.log(1e-3), np.log(1e3)), method="bounded")
        self.temperature_ = spread * float(np.exp(best.x))
        return self

    def predict_proba(self, scores: NDArray) -> NDArray[np.float64]:
        """Probabilities [n, C] of scores [n, C]."""
        return softmax(scores / self.temperature_, axis=1)


def class_scores(classifier: Any, X: NDArray[np.float32]) -> NDArray[np.float64]:
    """A fitted classifier's scores [n, C]: its decision values, or its log probabilities where it has none.

    With two classes a single decision value d becomes (-d, d). A classifier that has neither scores 1 for the class
    that it predicts.
    """
    if hasattr(classifier, "decision_function"):
        scores = np.asarray(classifier.decision_function(X), dtype=np.float64)
        return scores if scores.ndim == 2 else np.column_stack([-scores, scores])
    if hasattr(classifier, "predict_log_proba"):
        return np.asarray(classifier.predict_log_proba(X), dtype=np.float64)
    return np.asarray(np.asarray(classifier.predict(X))[:, None] == classifier.classes_, dtype=np.float64)
