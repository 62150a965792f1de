"""Heads made of heads: averaged probabilities, and a stack with a logistic regression on top."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from hamcache.heads.base import BaseHead, FitOptions, check_features
from hamcache.heads.class_weights import ClassWeight, class_weights
from hamcache.heads.folds import image_folds

# Probabilities are clipped here before the logarithm.
SMALLEST = 1e-6


class AverageHead(BaseHead):
    """The mean of its members' probabilities: the baseline that a concatenation of blocks must beat.

    Each member sees all columns and drops the blocks that are not its own.
    """

    def __init__(self, classes: Sequence[str] | None, members: Sequence[BaseHead]):
        self.classes = classes
        self.members = members

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        self.members_ = [clone(member).fit(X, y, **_for_members(options)) for member in self.members]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Mean probabilities, float64 [n, C]."""
        check_is_fitted(self)
        features = check_features(X, self.n_features_in_)
        return np.mean([member.predict_proba(features) for member in self.members_], axis=0)


class StackHead(BaseHead):
    """Logistic regression on the log probabilities of its members.

    It learns from out-of-fold probabilities (images of one group never on both sides); the members are then fitted
    once more on all images.
    """

    def __init__(
        self,
        classes: Sequence[str] | None,
        members: Sequence[BaseHead],
        C: float = 0.1,
        class_weight: ClassWeight = "balanced",
        n_folds: int = 5,
        seed: int = 0,
    ):
        self.classes = classes
        self.members = members
        self.C = C
        self.class_weight = class_weight
        self.n_folds = n_folds
        self.seed = seed

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        shared = _for_members(options)
        inputs = np.empty((len(y), len(self.members) * len(self.class_names)))
        for train, held_out in image_folds(y, options.groups, self.n_folds, self.seed, self.class_names):
            groups = None if options.groups is None else options.groups[train]
            fold = shared | {"groups": groups}
            members = [clone(member).fit(X[train], y[train], **fold) for member in self.members]
            inputs[held_out] = _log_probabilities(members, X[held_out])
        weight = class_weights(self.class_weight, self.counts_, self.class_names)[y]
        self.top_ = LogisticRegression(C=self.C, max_iter=1000).fit(inputs, y, sample_weight=weight)
        self.members_ = [clone(member).fit(X, y, **shared) for member in self.members]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of the logistic regression, float64 [n, C]."""
        check_is_fitted(self)
        features = check_features(X, self.n_features_in_)
        return self.top_.predict_proba(_log_probabilities(self.members_, features))


def _for_members(options: FitOptions) -> dict[str, Any]:
    # Callbacks watch one training, not those of many members.
    return vars(options) | {"callbacks": ()}


def _log_probabilities(members: Sequence[BaseHead], X: NDArray[np.float32]) -> NDArray[np.float64]:
    parts = [np.log(member.predict_proba(X).clip(SMALLEST)) for member in members]
    return np.hstack(parts)
