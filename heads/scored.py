"""Labels and probabilities under weights on the images, from which every metric is computed."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hamcache.heads.errors import MetricError


@dataclass(frozen=True, eq=False)
class Scored:
    """Labels and probabilities of `n` images under `R` sets of weights, with what several metrics share.

    Attributes:
        y: int64 `[n]`, codes of the true classes.
        proba: float64 `[n, C]`, probabilities, rows summing to one.
        weights: float64 `[R, n]`, not negative.
    """

    y: np.ndarray
    proba: np.ndarray
    weights: np.ndarray

    @property
    def n_classes(self) -> int:
        """Number of classes, `C`."""
        return self.proba.shape[1]

    @cached_property
    def predicted(self) -> np.ndarray:
        """int64 `[n]`: the most probable class (the first one where several are)."""
        return self.proba.argmax(axis=1)

    @cached_property
    def confusion(self) -> np.ndarray:
        """float64 `[R, C, C]`: weight of the images of class row that were predicted as class column."""
        cells = np.eye(self.n_classes**2)[self.y * self.n_classes + self.predicted]
        return (self.weights @ cells).reshape(-1, self.n_classes, self.n_classes)

    @cached_property
    def total(self) -> np.ndarray:
        """float64 `[R]`: sum of the weights."""
        return self.weights.sum(axis=1)

    @cached_property
    def class_auc(self) -> np.ndarray:
        """float64 `[R, C]`: area under the ROC curve of each class against the others; NaN where undefined."""
        columns = [_weighted_auc(self.y == c, self.proba[:, c], self.weights) for c in range(self.n_classes)]
        return np.stack(columns, axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """float64 `[R]`: weighted mean of one value an image."""
        return self.weights @ values / self.total


def scored(y_true: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> Scored:
    """Check labels and probabilities and pair them with weights (default: one set of ones)."""
    y, p = np.asarray(y_true), np.asarray(proba, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] < 2:
        raise MetricError(f"Expected probabilities of shape [images, classes] with 2 classes or more, got {p.shape}.")
    if y.shape != (len(p),) or not np.issubdtype(y.dtype, np.integer):
        raise MetricError(f"Expected {len(p)} integer class codes, got {y.dtype} of shape {y.shape}.")
    if len(p) == 0:
        raise MetricError("Expected at least one image to score, got none.")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise MetricError(f"Expected class codes 0 to {p.shape[1] - 1}, got {y.min()} to {y.max()}.")
    if not np.isfinite(p).all():
        raise MetricError(
            f"Expected finite probabilities, got NaN or infinity in {(~np.isfinite(p)).any(1).sum()} rows."
        )
    if p.min() < -1e-6 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise MetricError(
            f"Expected probabilities whose rows sum to 1, got values from {p.min():.4g} to {p.max():.4g} and row sums "
            f"from {p.sum(axis=1).min():.4g} to {p.sum(axis=1).max():.4g}. Apply softmax first if these are logits."
        )
    w = np.ones((1, len(p))) if weights is None else np.asarray(weights, dtype=np.float64)
    return Scored(y.astype(np.int64), p, w)


def divide(top: np.ndarray, bottom: np.ndarray, otherwise: float) -> np.ndarray:
    """`top / bottom`, and `otherwise` where `bottom` is zero."""
    return np.divide(
        top, bottom, out=np.full(np.broadcast_shapes(top.shape, bottom.shape), otherwise), where=bottom != 0
    )


def _weighted_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[R]`: the chance that a positive scores above a negative, ties half (Mann-Whitney); NaN if undefined."""
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(score[negatives], kind="stable")]
    below = np.zeros((len(weights), len(negatives) + 1))  # weight of the first k negatives
    np.cumsum(weights[:, negatives], axis=1, out=below[:, 1:])
    of_positives, ranked = weights[:, positive], score[negatives]
    lower = below[:, np.searchsorted(ranked, score[positive], side="left")]
    not_higher = below[:, np.searchsorted(ranked, score[positive], side="right")]
    wins = 0.5 * (of_positives * (lower + not_higher)).sum(axis=1)
    return divide(wins, of_positives.sum(axis=1) * below[:, -1], otherwise=np.nan)
