"""Every scikit-learn classifier of the zoo as a torch module: from rows to scores or probabilities, in double.

Scores go through a temperature and a softmax behind the classifier (`use.export.onnx_heads`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hamcache.pipeline.use.export.onnx_trees import Trees, boosted_trees, forest_trees


def double(values: Sequence[float] | np.ndarray) -> nn.Buffer:
    """Fitted numbers as a float64 buffer of a module."""
    return nn.Buffer(torch.from_numpy(np.array(values, dtype=np.float64)))


def as_stored(values: np.ndarray) -> nn.Buffer:
    """A large table as a buffer in its own precision, in memory of its own."""
    return nn.Buffer(torch.from_numpy(np.ascontiguousarray(values)))


def unit_rows(X: Tensor) -> Tensor:
    """Rows at length 1; a row of zeros stays one."""
    length = X.square().sum(dim=1, keepdim=True).sqrt()
    return X / torch.where(length == 0, 1.0, length)


class _Linear(nn.Module):
    """Scores of a linear classifier `[rows, C]`; with two classes (-d, d), as `heads.temperature.class_scores`."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        weight, bias = np.atleast_2d(weight), np.broadcast_to(np.atleast_1d(bias), len(np.atleast_2d(weight)))
        if len(weight) == 1:
            weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
        self.weight = double(weight.T)
        self.bias = double(bias)

    def forward(self, X: Tensor) -> Tensor:
        return X @ self.weight + self.bias


class _NaiveBayes(nn.Module):
    """Joint log likelihoods of a Gaussian naive Bayes: what all classes share cancels in the softmax behind it."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        offsets = np.log(classifier.class_prior_) - 0.5 * np.log(2 * np.pi * classifier.var_).sum(axis=1)
        self.means = double(classifier.theta_)
        self.precisions = double(1 / classifier.var_)
        self.offsets = double(offsets)

    def forward(self, X: Tensor) -> Tensor:
        squares = (X.unsqueeze(1) - self.means).square() * self.precisions
        return self.offsets - 0.5 * squares.sum(dim=2)


class _Kernels(nn.Module):
    """Margins of one two-class machine a class, each a weighted sum of Gaussian kernels at its support vectors."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        machines = classifier.machines_
        rows = np.unique(np.concatenate([machine.support_ for machine in machines]))
        vectors = np.zeros((len(rows), machines[0].support_vectors_.shape[1]))
        weights = np.zeros((len(rows), len(machines)))
        for code, machine in enumerate(machines):
            places = np.searchsorted(rows, machine.support_)
            vectors[places] = machine.support_vectors_
            weights[places, code] = machine.dual_coef_[0]
        self.vectors = as_stored(vectors.astype(np.float32))  # they were float32 before
        self.weights = double(weights)
        self.bias = double([machine.intercept_[0] for machine in machines])
        self.gamma = float(machines[0]._gamma)
        assert all(machine._gamma == self.gamma for machine in machines)

    def forward(self, X: Tensor) -> Tensor:
        vectors = self.vectors.double()
        squares = X.square().sum(dim=1, keepdim=True) - 2 * X @ vectors.T + vectors.square().sum(dim=1)
        return (-self.gamma * squares.clamp_min(0)).exp() @ self.weights + self.bias


class _Neighbours(nn.Module):
    """Votes of the most similar training rows."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.k = min(classifier.n_neighbors, len(classifier.rows_))
        self.temperature, self.smoothing = classifier.temperature, classifier.smoothing
        self.rows = as_stored(classifier.rows_.T)
        self.votes = double(classifier.votes_)
        self.overall = double(classifier.votes_.sum(axis=0) / classifier.votes_.sum())

    def forward(self, X: Tensor) -> Tensor:
        close, nearest = (unit_rows(X).float() @ self.rows).topk(self.k, dim=1)
        strength = ((close.double() - close[:, :1].double()) / self.temperature).exp()
        votes = (strength.unsqueeze(2) * self.votes[nearest]).sum(dim=1)
        votes = votes / votes.sum(dim=1, keepdim=True)
        return (1 - self.smoothing) * votes + self.smoothing * self.overall


class _Boosted(nn.Module):
    def __init__(self, booster: Any) -> None:
        super().__init__()
        self.trees = Trees(boosted_trees(booster))
        self.baseline = double(np.ravel(booster._baseline_prediction))

    def forward(self, X: Tensor) -> Tensor:
        scores = self.trees(X) + self.baseline
        if scores.shape[1] == 1:  # two classes: one score
            scores = torch.cat([-scores / 2, scores / 2], dim=1)
        return scores.softmax(dim=1)


def _linear(classifier: Any) -> nn.Module:
    return _Linear(classifier.coef_, classifier.intercept_)


def _logistic(classifier: Any) -> nn.Module:
    half = 0.5 if len(classifier.coef_) == 1 else 1.0  # sigmoid(d) is softmax(-d / 2, d / 2)
    return nn.Sequential(_Linear(half * classifier.coef_, half * classifier.intercept_), nn.Softmax(dim=1))


def _centroid(classifier: Any) -> nn.Module:
    """Minus squared distances in scaled columns; what an image adds to all of them alike is left out."""
    spread = np.where(classifier.within_class_std_dev_ == 0, 1.0, classifier.within_class_std_dev_)
    centres = classifier.centroids_ / spread
    weight = 2 * centres / spread
    bias = 2 * np.log(classifier.class_prior_) - np.square(centres).sum(axis=1)
    if len(weight) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    return _Linear(weight, bias)


CLASSIFIERS: dict[str, Callable[[Any], nn.Module]] = {
    "LogisticRegression": _logistic,
    "RidgeClassifier": _linear,
    "LinearSVC": _linear,
    "LinearDiscriminantAnalysis": _linear,
    "NearestCentroid": _centroid,
    "GaussianNB": _NaiveBayes,
    "OneVsRestSVC": _Kernels,
    "CosineKNN": _Neighbours,
    "RandomForestClassifier": lambda forest: Trees(forest_trees(forest)),
    "ExtraTreesClassifier": lambda forest: Trees(forest_trees(forest)),
    "HistGradientBoostingClassifier": _Boosted,
}
