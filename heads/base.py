"""The base of every head: the data it takes, the checks on it, and probabilities averaged over views."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from hamcache.heads.errors import ClassAbsentError, FeatureShapeError, NotFiniteFeaturesError, UnknownNameError
from hamcache.heads.threads import one_thread
from hamcache.heads.views import ALL_VIEWS, ViewPolicy


@dataclass(frozen=True)
class FitOptions:
    """Everything `BaseHead.fit` takes besides features and labels; see there."""

    groups: NDArray[Any] | None = None
    validation: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
    policy: ViewPolicy = ALL_VIEWS
    callbacks: Sequence[Any] = ()


class BaseHead(ClassifierMixin, BaseEstimator):
    """A classifier on features; subclasses implement `_fit` and `_predict_rows`.

    `classes` are the class names in code order; None takes those of the labels, sorted. After `fit`: `classes_`
    (codes 0..C-1, or the labels where they are no codes), `counts_` (training images a class), `prior_` (their share),
    `history_` (one dict an epoch; empty for heads without epochs) and `notes_` (lines for the log of who trains it).
    """

    classes: Sequence[str] | None

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        policy: ViewPolicy = ALL_VIEWS,
        callbacks: Sequence[Any] = (),
    ) -> Self:
        """Train on features and labels.

        Args:
            X: features, float32 [n, d] or [n, views, d]. Views of one image count 1/views each.
            y: codes [n] into `classes`, or class names; without `classes` any labels.
            groups: codes [n] of what must stay together in inner cross-validation (lesions); default: each image
                is its own group. Views of one image always stay together.
            validation: features and labels for early stopping, used by heads with epochs and ignored by others.
                Without it those heads train for all their epochs.
            policy: heads with epochs see another view per image and epoch where `train` is `random`, else all views.
            callbacks: further skorch callbacks, for heads with epochs.

        Raises:
            FeatureShapeError, NotFiniteFeaturesError, ClassAbsentError: what the names say.
        """
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True)  # remembers the names of columns
        features = check_features(X)
        self.classes_ = known_labels(y, self.classes)
        codes = self._codes(y, len(features))
        self.counts_ = class_counts(codes, self.class_names)
        self.prior_ = self.counts_ / len(codes)
        self.n_features_in_ = features.shape[2]
        self.history_: list[dict[str, float]] = []
        self.notes_: list[str] = []
        if validation is not None:
            held_out = check_features(validation[0], self.n_features_in_)
            validation = (held_out, self._codes(validation[1], len(held_out)))
        options = FitOptions(
            groups=None if groups is None else np.asarray(groups),
            validation=validation,
            policy=policy,
            callbacks=callbacks,
        )
        with one_thread():
            self._fit(features, codes, options)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities float64 [n, C] in code order; those of an image's views [n, views, d] are averaged."""
        check_is_fitted(self)
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=False)
        features = check_features(X, self.n_features_in_)
        images, views, dim = features.shape
        with one_thread():
            rows = np.asarray(self._predict_rows(features.reshape(-1, dim)), dtype=np.float64)
        probabilities = rows.reshape(images, views, -1).mean(axis=1)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each image [n], as `fit` was given them: codes, or labels."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in code order."""
        return tuple(map(str, self.classes_)) if self.classes is None else tuple(self.classes)

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        """Train on checked features [n, views, d]."""
        raise NotImplementedError

    def _predict_rows(self, X: NDArray[np.float32]) -> NDArray[Any]:
        """Probabilities [n, C] of rows [n, d]."""
        raise NotImplementedError

    def _codes(self, y: ArrayLike, images: int) -> NDArray[np.int64]:
        labels = _one_dimensional(y)
        if labels.shape != (images,):
            raise FeatureShapeError(f"Expected {images} labels, one an image, got {len(labels)}.")
        if self.classes_.dtype.kind in "iu" and np.array_equal(self.classes_, np.arange(len(self.classes_))):
            codes = labels
        else:
            codes = np.searchsorted(self.classes_, labels, sorter=(order := np.argsort(self.classes_)))
            codes = order[codes.clip(max=len(order) - 1)]
            unknown = labels[self.classes_[codes] != labels]
            if len(unknown):
                raise UnknownNameError(unknown[0], map(str, self.classes_), "class")
        if codes.dtype.kind not in "iu":
            raise FeatureShapeError(f"Expected integer class codes, or names of classes, got {codes.dtype}.")
        if len(codes) and (codes.min() < 0 or codes.max() >= len(self.classes_)):
            raise FeatureShapeError(
                f"Expected class codes from 0 to {len(self.classes_) - 1} ({len(self.classes_)} classes), "
                f"got {codes.min()} to {codes.max()}."
            )
        return codes.astype(np.int64, copy=False)


def known_labels(y: ArrayLike, classes: Sequence[str] | None) -> NDArray[Any]:
    """The labels of the classes in code order: codes where `y` holds codes, else names.

    Raises:
        FeatureShapeError: no labels, or those of a regression.
    """
    labels = _one_dimensional(y)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.ravel()):
        labels = labels.astype(str)
    if classes is not None:
        return np.asarray(classes) if labels.dtype.kind in "UT" else np.arange(len(classes))
    try:
        check_classification_targets(labels)
    except ValueError as error:
        raise FeatureShapeError(f"Expected labels of classes, got others. {error}") from error
    return np.unique(labels)


def _one_dimensional(y: ArrayLike) -> NDArray[Any]:
    try:
        return column_or_1d(y, warn=True)
    except ValueError as error:
        raise FeatureShapeError(f"Expected one label an image, got something else: {error}") from error


def class_counts(codes: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.int64]:
    """Training images of each class, int64 [C].

    Raises:
        ClassAbsentError: a class has none.
    """
    counts = np.bincount(codes, minlength=len(classes))
    if (counts == 0).any():
        raise ClassAbsentError(name for name, count in zip(classes, counts, strict=True) if count == 0)
    return counts


def check_features(X: ArrayLike, dim: int | None = None) -> NDArray[np.float32]:
    """Features as float32 [n, views, d]; [n, d] becomes one view.

    Raises:
        FeatureShapeError: another shape, no rows, or another width than `dim`.
        NotFiniteFeaturesError: NaN or infinite numbers; the message names the first rows.
    """
    if issparse(X):
        raise FeatureShapeError("Expected a dense array of features, got a sparse one. Call its toarray() first.")
    features = np.asarray(X, dtype=np.float32)
    if features.ndim == 2:
        features = features[:, None]
    if features.ndim != 3 or 0 in features.shape:
        raise FeatureShapeError(
            f"Expected features [n, d] or [n, views, d], got shape {np.shape(X)}. Reshape your data."
        )
    if dim is not None and features.shape[2] != dim:
        raise FeatureShapeError(
            f"Expected {dim} feature columns, as in training, got {features.shape[2]}. "
            "Give the same blocks in the same order."
        )
    # One pass and no mask in memory: the sum is finite unless a number is not (or the numbers are absurdly large).
    if not np.isfinite(features.sum(dtype=np.float64)):
        bad = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
        if len(bad):
            raise NotFiniteFeaturesError(
                f"Expected finite features, got NaN or infinite numbers in {len(bad)} of {len(features)} images "
                f"(rows {', '.join(map(str, bad[:5]))}{', ...' if len(bad) > 5 else ''}). "
                "Verify the feature store and extract these images again."
            )
    return features
