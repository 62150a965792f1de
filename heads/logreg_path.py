"""Logistic regression whose penalty is chosen on the validation images, of many that are fitted together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from hamcache.heads.base import FitOptions
from hamcache.heads.blocks import BlockTransformer
from hamcache.heads.class_weights import ClassWeight
from hamcache.heads.estimator import EstimatorHead
from hamcache.heads.folds import image_folds
from hamcache.heads.logistic_path import logistic_path
from hamcache.heads.metrics import get_metric


class LogregPathHead(EstimatorHead):
    """Logistic regressions of many penalties, of which the one that scores best is kept.

    It scores on the validation images; without any, on images held out of the training in turn, and the best is
    fitted to all of them again. The penalties are fitted together (see `heads.logistic_path`).

    Args:
        classes: class names in code order.
        blocks: the transformer of the blocks' columns.
        Cs: inverses of the penalty, per image.
        class_weight: see `heads.class_weights`.
        choose_by: a metric's name; of equally good penalties the strongest is kept.
        max_iter: steps at most for each penalty.
        n_folds: folds, where there are no validation images.
        seed: of the folds.

    After `fit`: `path_`, one dict a penalty: `C`, and the score by the metric's name.
    """

    n_components = None
    calibrate = False

    def __init__(
        self,
        classes: Sequence[str] | None,
        blocks: BlockTransformer,
        Cs: Sequence[float],
        class_weight: ClassWeight = "balanced",
        choose_by: str = "mcc",
        max_iter: int = 500,
        n_folds: int = 5,
        seed: int = 0,
    ):
        self.classes = classes
        self.blocks = blocks
        self.Cs = Cs
        self.class_weight = class_weight
        self.choose_by = choose_by
        self.max_iter = max_iter
        self.n_folds = n_folds
        self.seed = seed

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        self.blocks_, self.pca_ = clone(self.blocks).fit(X.reshape(-1, X.shape[2])), None
        Cs = sorted(set(self.Cs))
        if options.validation is not None:
            path = self._path(X, y, Cs)
            held_out, y_held_out = options.validation
            proba = self._means_over_views(path, held_out)
        else:
            proba, y_held_out = np.empty((len(Cs), len(y), len(self.class_names))), y
            for train, rest in image_folds(y, options.groups, self.n_folds, self.seed, self.class_names):
                proba[:, rest] = self._means_over_views(self._path(X[train], y[train], Cs), X[rest])
        metric = get_metric(self.choose_by)
        scores = [float(metric(y_held_out, each)) for each in proba]
        best = int(np.argmax([metric.gain(score) for score in scores]))
        self.path_ = [{"C": C, metric.name: score} for C, score in zip(Cs, scores, strict=True)]
        self.notes_ = [
            f"{metric.name} of {len(Cs)} penalties: "
            + ", ".join(f"C {C:g} {s:.4f}" for C, s in zip(Cs, scores, strict=True))
        ]
        self.classifier_ = path[best] if options.validation is not None else self._path(X, y, [Cs[best]])[0]

    def _path(self, X: NDArray[np.float32], y: NDArray[np.int64], Cs: Sequence[float]) -> list[LogisticRegression]:
        views = X.shape[1]
        row_y = np.repeat(y, views)
        weight = self._class_factors()[row_y] / views
        return logistic_path(
            self.blocks_.transform(X.reshape(-1, X.shape[2])), row_y, weight, Cs, max_iter=self.max_iter
        )

    def _means_over_views(self, path: Sequence[LogisticRegression], X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities [classifiers, images, C]."""
        rows = self.blocks_.transform(X.reshape(-1, X.shape[2]))
        return np.stack([one.predict_proba(rows).reshape(*X.shape[:2], -1).mean(axis=1) for one in path])
