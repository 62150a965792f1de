"""A classifier of one's own as a head."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from hamcache.heads.base import FitOptions
from hamcache.heads.blocks import BlockTransformer
from hamcache.heads.class_weights import ClassWeight, class_weights
from hamcache.heads.errors import OwnHeadError
from hamcache.heads.estimator import EstimatorHead
from hamcache.heads.own_fitting import (
    by_itself,
    fit_keyword,
    lesion_folds,
    settle,
    takes_weights,
    watching,
    weigh_classes,
    weighs_itself,
)


class OwnHead(EstimatorHead):
    """Any classifier that follows scikit-learn's contract, behind the blocks' transforms.

    It is fitted on codes 0..C-1, with the seed and one thread where it was made without. Rows weigh class weight /
    views where its `fit` takes `sample_weight`; else its parameter `class_weight` is set. Its probabilities are those
    of `predict_proba`; without it, of a temperature fitted on out-of-fold decision values, or on the predicted
    classes alone. Folds keep lesions together.

    Args:
        classes: class names in code order.
        blocks: the transformer of the blocks' columns.
        classifier: the classifier, not fitted.
        class_weight: see `heads.class_weights`; `auto`: balanced, where it takes weights and was made without.
        name: what it was asked for by.
        n_folds: folds for the temperature.
        seed: of the classifier and the folds.
    """

    n_components = None

    def __init__(
        self,
        classes: Sequence[str] | None,
        blocks: BlockTransformer,
        classifier: Any,
        class_weight: ClassWeight | Literal["auto"] = "auto",
        name: str = "own",
        n_folds: int = 5,
        seed: int = 0,
    ):
        self.classes = classes
        self.blocks = blocks
        self.classifier = classifier
        self.class_weight = class_weight  # type: ignore[assignment]
        self.name = name
        self.n_folds = n_folds
        self.seed = seed

    @property
    def calibrate(self) -> bool:  # type: ignore[override]
        """True for a classifier without probabilities."""
        return not hasattr(self.classifier, "predict_proba")

    def _class_factors(self) -> NDArray[np.float64]:
        weight: Any = self.class_weight
        if isinstance(weight, str) and weight == "auto":
            takes = takes_weights(self.classifier)
            weight = "balanced" if takes and not weighs_itself(self.classifier) else "none"
            if not takes:
                warnings.warn(f"{self.name} takes no weights: classes count as often as they occur", stacklevel=2)
        return class_weights(weight, self.counts_, self.class_names)

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        if self.calibrate:
            scores = "decision values" if hasattr(self.classifier, "decision_function") else "predicted classes"
            warnings.warn(
                f"{self.name} has no predict_proba: probabilities come from its {scores}, by a temperature fitted out "
                "of fold",
                stacklevel=2,
            )
        self._held_out = options.validation
        try:
            super()._fit(X, y, options)
        finally:
            del self._held_out

    def _fitted(
        self, rows: NDArray[np.float32], y: NDArray[np.int64], weight: NDArray[np.float64], groups: NDArray[Any]
    ) -> Any:
        classifier = clone(self.classifier)
        settle(classifier, self.seed)
        arguments = watching(classifier, self._validation_rows())
        keyword = fit_keyword(classifier, "sample_weight")
        factors = self._class_factors()
        if keyword is not None:
            arguments[keyword] = weight
        elif (factors != 1).any():
            weigh_classes(classifier, factors)
        with lesion_folds(classifier, y, groups, self.seed, self.class_names), by_itself(self.name, self.seed):
            fitted = classifier.fit(rows, y, **arguments)
        found = getattr(classifier, "classes_", None)
        if found is not None and not np.array_equal(found, np.arange(len(self.class_names))):
            raise OwnHeadError(f"Expected {self.name} to know classes 0 to {len(self.class_names) - 1}, got {found}.")
        return classifier if fitted is None else fitted

    def _validation_rows(self) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        if self._held_out is None:
            return None
        X, y = self._held_out
        return self.blocks_.transform(X.reshape(-1, X.shape[2])), np.repeat(y, X.shape[1])

    def _predict_rows(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        with by_itself(self.name, self.seed):
            probabilities = np.asarray(super()._predict_rows(X), dtype=np.float64)
        shape = (len(X), len(self.class_names))
        if probabilities.shape != shape or not np.isfinite(probabilities).all() or probabilities.min() < 0:
            raise OwnHeadError(
                f"Expected finite probabilities of shape {shape} from {self.name}, got shape {probabilities.shape}, "
                f"smallest {probabilities.min():g}."
            )
        return probabilities
