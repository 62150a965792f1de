"""Nearest neighbours by cosine similarity, with row weights and votes that never give a class zero."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize

# Similarities held in memory at once.
CHUNK_SIMILARITIES = 20_000_000


class CosineKNN(ClassifierMixin, BaseEstimator):
    """Each of the k most similar training rows votes with `exp(similarity / temperature)` times its row weight.

    This is the k-NN protocol of self-supervised learning (Wu et al., CVPR 2018; temperature 0.07), plus a share of
    `smoothing` that goes to the classes' weights in training.
    """

    def __init__(self, n_neighbors: int = 20, temperature: float = 0.07, smoothing: float = 0.02):
        self.n_neighbors = n_neighbors
        self.temperature = temperature
        self.smoothing = smoothing

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Remember the rows [n, d], scaled to length 1, with codes [n] and row weights [n]."""
        self.rows_ = normalize(np.asarray(X, dtype=np.float32))
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        weight = np.ones(len(codes)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        self.votes_ = np.eye(len(self.classes_))[codes] * weight[:, None]
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Shares of the votes, float64 [n, C]."""
        queries = normalize(np.asarray(X, dtype=np.float32))
        chunk = max(1, CHUNK_SIMILARITIES // len(self.rows_))
        votes = np.concatenate([self._votes(queries[start : start + chunk]) for start in range(0, len(queries), chunk)])
        votes /= votes.sum(axis=1, keepdims=True)
        overall = self.votes_.sum(axis=0) / self.votes_.sum()
        return (1 - self.smoothing) * votes + self.smoothing * overall

    def predict(self, X: ArrayLike) -> NDArray:
        """The class with most votes for each row."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _votes(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        similarity = queries @ self.rows_.T
        k = min(self.n_neighbors, similarity.shape[1])
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        close = np.take_along_axis(similarity, nearest, axis=1).astype(np.float64)
        strength = np.exp((close - close.max(axis=1, keepdims=True)) / self.temperature)
        return np.einsum("qk,qkc->qc", strength, self.votes_[nearest])
