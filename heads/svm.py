"""Support vector machine with a Gaussian kernel, one class against all others."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC


class OneVsRestSVC(ClassifierMixin, BaseEstimator):
    """One two-class SVC for each class.

    scikit-learn's SVC sets every two classes against each other and returns vote counts as decision values, from
    which no temperature makes good probabilities; the decision values here are margins.
    """

    def __init__(self, C: float = 1.0, gamma: float | Literal["scale"] = "scale", seed: int = 0):
        self.C = C
        self.gamma = gamma
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on rows [n, d], codes [n] and row weights [n]."""
        codes = np.asarray(y)
        self.classes_ = np.unique(codes)
        self.machines_ = [self._machine().fit(X, codes == code, sample_weight) for code in self.classes_]
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Margins [n, C]."""
        return np.column_stack([machine.decision_function(X) for machine in self.machines_])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class with the largest margin for each row."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def _machine(self) -> SVC:
        return SVC(C=self.C, gamma=self.gamma, cache_size=500, random_state=self.seed)
