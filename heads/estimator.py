"""Any scikit-learn classifier as a head: blocks transformed, principal components, classifier, probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils.validation import has_fit_parameter

from hamcache.heads.base import BaseHead, FitOptions
from hamcache.heads.blocks import BlockTransformer
from hamcache.heads.class_weights import ClassWeight, class_weights
from hamcache.heads.folds import image_folds
from hamcache.heads.temperature import TemperatureScaling, class_scores


class EstimatorHead(BaseHead):
    """A scikit-learn classifier behind the blocks' transforms, fitted on the training rows only.

    Args:
        classes: class names in code order.
        blocks: the transformer of the blocks' columns.
        classifier: the classifier; rows are given weights (class weight / views) where its `fit` takes them.
        class_weight: see `heads.class_weights`; must be `none` where the classifier takes no row weights.
        n_components: principal components put in front, where the features are wider than that.
        calibrate: turn the classifier's scores into probabilities by a temperature fitted on out-of-fold scores;
            the transforms before it, which never see a label, are fitted once. For classifiers without
            probabilities, or with bad ones.
        n_folds: folds for the calibration.
        seed: of the components and the folds.
    """

    def __init__(
        self,
        classes: Sequence[str] | None,
        blocks: BlockTransformer,
        classifier: Any,
        class_weight: ClassWeight = "none",
        n_components: int | None = None,
        calibrate: bool = False,
        n_folds: int = 5,
        seed: int = 0,
    ):
        self.classes = classes
        self.blocks = blocks
        self.classifier = classifier
        self.class_weight = class_weight
        self.n_components = n_components
        self.calibrate = calibrate
        self.n_folds = n_folds
        self.seed = seed

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        _, views, dim = X.shape
        rows = X.reshape(-1, dim)
        self.blocks_ = clone(self.blocks).fit(rows)
        rows = self.blocks_.transform(rows)
        self.pca_ = None
        if self.n_components is not None and self.n_components < rows.shape[1]:
            self.pca_ = PCA(min(self.n_components, len(rows)), random_state=self.seed).fit(rows)
            rows = self.pca_.transform(rows)
        row_y = np.repeat(y, views)
        weight = self._class_factors()[row_y] / views
        groups = np.arange(len(y)) if options.groups is None else options.groups
        if self.calibrate:
            self.calibrator_ = self._calibrator(rows, y, weight, groups)
        self.classifier_ = self._fitted(rows, row_y, weight, np.repeat(groups, views))

    def _class_factors(self) -> NDArray[np.float64]:
        return class_weights(self.class_weight, self.counts_, self.class_names)

    def _fitted(
        self, rows: NDArray[np.float32], y: NDArray[np.int64], weight: NDArray[np.float64], groups: NDArray[Any]
    ) -> Any:
        classifier = clone(self.classifier)
        if isinstance(classifier, LinearDiscriminantAnalysis) and isinstance(classifier.priors, str):
            classifier.set_params(priors=np.full(len(self.class_names), 1 / len(self.class_names)))
        if has_fit_parameter(classifier, "sample_weight"):
            return classifier.fit(rows, y, sample_weight=weight)
        return classifier.fit(rows, y)

    def _calibrator(
        self,
        rows: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float64],
        groups: NDArray[Any],
    ) -> TemperatureScaling:
        views = len(rows) // len(y)
        row_y, row_groups = np.repeat(y, views), np.repeat(groups, views)
        scores = np.empty((len(rows), len(self.class_names)))
        row_numbers = np.arange(len(rows)).reshape(-1, views)
        for train, held_out in image_folds(y, groups, self.n_folds, self.seed, self.class_names):
            fitted_on, scored = row_numbers[train].ravel(), row_numbers[held_out].ravel()
            classifier = self._fitted(rows[fitted_on], row_y[fitted_on], weight[fitted_on], row_groups[fitted_on])
            scores[scored] = class_scores(classifier, rows[scored])
        return TemperatureScaling().fit(scores, row_y, weight)

    def _predict_rows(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        rows = self.blocks_.transform(X)
        if self.pca_ is not None:
            rows = self.pca_.transform(rows)
        if self.calibrate:
            return self.calibrator_.predict_proba(class_scores(self.classifier_, rows))
        return self.classifier_.predict_proba(rows)
