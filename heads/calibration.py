"""Probabilities for classifiers that only give scores, or that give badly calibrated probabilities."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator

METHODS = ("temperature", "vector")


class Calibrator(BaseEstimator):
    """Softmax of `scale x scores + bias`, fitted by maximum likelihood on scores the classifier did not train on.

    `temperature`: one scale and no bias (Guo et al., ICML 2017): the order of the classes stays as it is.
    `vector`: one scale and a bias per class, which also undoes a shift between classes.
    """

    def __init__(self, method: str = "temperature"):
        self.method = method

    def fit(self, scores: NDArray, y: NDArray[np.int64], weight: NDArray | None = None) -> Self:
        """Fit to out-of-fold scores [n, C] and codes [n] with row weights [n]."""
        weight = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()
        classes = scores.shape[1]
        onehot = np.eye(classes)[y]
        # Scores of any size start at a spread near 1, so that the optimiser's steps fit.
        spread = float(scores.std()) or 1.0

        def loss_and_slope(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scaled = np.exp(x[0]) / spread * scores
            log_p = log_softmax(scaled + x[1:], axis=1)
            residual = weight[:, None] * (np.exp(log_p) - onehot)
            slope = np.concatenate([[np.sum(residual * scaled)], residual.sum(axis=0)])
            if self.method == "temperature":
                slope[1:] = 0.0
            return -float(weight @ (log_p * onehot).sum(axis=1)), slope

        best = minimize(loss_and_slope, np.zeros(1 + classes), jac=True, method="L-BFGS-B").x
        self.scale_ = float(np.exp(best[0]) / spread)
        self.bias_ = best[1:] - best[1:].mean()
        return self

    def predict_proba(self, scores: NDArray) -> NDArray[np.float64]:
        """Probabilities [n, C] of scores [n, C]."""
        return softmax(self.scale_ * scores + self.bias_, axis=1)


def class_scores(classifier: Any, X: NDArray[np.float32]) -> NDArray[np.float64]:
    """A fitted classifier's scores [n, C]: its decision values, or its log probabilities where it has none.

    With two classes a single decision value d becomes (-d, d).
    """
    if hasattr(classifier, "decision_function"):
        scores = np.asarray(classifier.decision_function(X), dtype=np.float64)
        return scores if scores.ndim == 2 else np.column_stack([-scores, scores])
    return np.asarray(classifier.predict_log_proba(X), dtype=np.float64)
