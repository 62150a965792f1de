"""Every head of the zoo as a torch module that can become part of an ONNX graph.

Arithmetic is double where scikit-learn's is, so that a head and its module agree to the last digits of float32.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hamcache.heads.ensemble import SMALLEST
from hamcache.pipeline.errors import ExportError
from hamcache.pipeline.use.export.onnx_trees import Trees, boosted_trees, forest_trees


def module_of(head: Any) -> nn.Module:
    """A fitted head as a module from features float32 `[views, n, dim]` to probabilities float64 `[n, C]`.

    Raises:
        ExportError: A kind of head that has no module; names those that have.
    """
    return _chosen("head", head, _HEADS)(head)


def _chosen(kind: str, fitted: Any, known: dict[str, Callable[[Any], nn.Module]]) -> Callable[[Any], nn.Module]:
    name = type(fitted).__name__
    if name not in known:
        raise ExportError(f"Expected a {kind} that can be exported ({', '.join(known)}), but got {name}.")
    return known[name]


class _MeanOverViews(nn.Module):
    """Probabilities of rows, averaged over an image's views; rows of the result sum to 1."""

    def __init__(self, rows: nn.Module) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, X: Tensor) -> Tensor:
        views, n = X.shape[:2]
        proba = self.rows(X.flatten(0, 1)).unflatten(0, (views, n)).mean(dim=0)
        return proba / proba.sum(dim=1, keepdim=True)


class Adjusted(nn.Module):
    """Post-hoc logit adjustment of probabilities by a prior (see `heads.logit_adjustment`)."""

    factor: Tensor

    def __init__(self, prior: np.ndarray, tau: float) -> None:
        super().__init__()
        self.register_buffer("factor", _double(prior**-tau))

    def forward(self, proba: Tensor) -> Tensor:
        """Probabilities `[n, C]`."""
        shifted = proba * self.factor
        return shifted / shifted.sum(dim=1, keepdim=True)


class _Average(nn.Module):
    def __init__(self, head: Any) -> None:
        super().__init__()
        self.members = nn.ModuleList(module_of(member) for member in head.members_)

    def forward(self, X: Tensor) -> Tensor:
        return torch.stack([member(X) for member in self.members]).mean(dim=0)


class _Stack(nn.Module):
    def __init__(self, head: Any) -> None:
        super().__init__()
        self.members = nn.ModuleList(module_of(member) for member in head.members_)
        self.top = _Logistic(head.top_)

    def forward(self, X: Tensor) -> Tensor:
        logs = [member(X).clamp_min(SMALLEST).log() for member in self.members]
        return self.top(torch.cat(logs, dim=1))


class _Perceptron(nn.Module):
    """Rows through the blocks' transforms, the network and its loss's probabilities."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.blocks = _Blocks(head.blocks_)
        self.network = head._build_network()
        self.network.load_state_dict({name: torch.from_numpy(value) for name, value in head.weights_.items()})
        self.loss = head._build_loss()

    def forward(self, X: Tensor) -> Tensor:
        return self.loss.probabilities(self.network(self.blocks(X).float())).double()


class _Estimator(nn.Module):
    """Rows through the blocks' transforms, principal components, a scikit-learn classifier and its temperature."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.blocks = _Blocks(head.blocks_)
        self.components = nn.Identity() if head.pca_ is None else _Components(head.pca_)
        self.temperature = head.calibrator_.temperature_ if head.calibrate else None
        self.classifier = _chosen("classifier", head.classifier_, _CLASSIFIERS)(head.classifier_)

    def forward(self, X: Tensor) -> Tensor:
        outputs = self.classifier(self.components(self.blocks(X)))
        return outputs if self.temperature is None else (outputs / self.temperature).softmax(dim=1)


class _Blocks(nn.Module):
    """`heads.blocks.BlockTransformer`: float32 `[rows, dim]` to float64 numbers that are float32's."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.dims = list(transformer.dims)
        self.kept = [number for number, step in enumerate(transformer.steps_) if step is not None]
        self.steps = nn.ModuleList(_step(transformer.steps_[number]) for number in self.kept)

    def forward(self, X: Tensor) -> Tensor:
        parts = X.split(self.dims, dim=1)
        done = [step(parts[number].double()) for number, step in zip(self.kept, self.steps, strict=True)]
        return torch.cat(done, dim=1).float().double()


def _step(step: Any) -> nn.Module:
    name = type(step).__name__
    if name == "StandardScaler":
        return _Standardized(step)
    if name == "ScaledPCA":
        return nn.Sequential(_Standardized(step.scaler_), _Components(step.pca_), _Divided(step.scale_))
    if name == "Pipeline":
        return nn.Sequential(*(_step(part) for _, part in step.steps))
    if name == "Normalizer":
        return _UnitRows()
    if name == "FunctionTransformer":
        return nn.Identity() if step.func is None else _SignedRoot()
    raise ExportError(f"Expected a transform of blocks that can be exported, but got {name}.")


class _Standardized(nn.Module):
    mean: Tensor
    scale: Tensor

    def __init__(self, scaler: Any) -> None:
        super().__init__()
        self.register_buffer("mean", _double(scaler.mean_))
        self.register_buffer("scale", _double(scaler.scale_))

    def forward(self, X: Tensor) -> Tensor:
        return (X - self.mean) / self.scale


class _Components(nn.Module):
    """Projections on principal components."""

    weight: Tensor
    shift: Tensor

    def __init__(self, pca: Any) -> None:
        super().__init__()
        weight = np.asarray(pca.components_, dtype=np.float64)
        self.register_buffer("weight", _as_stored(pca.components_.T))
        self.register_buffer("shift", _double(weight @ np.asarray(pca.mean_, dtype=np.float64)))

    def forward(self, X: Tensor) -> Tensor:
        return (X @ self.weight.double() - self.shift).float().double()


class _Divided(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, X: Tensor) -> Tensor:
        return X / self.by


class _UnitRows(nn.Module):
    def forward(self, X: Tensor) -> Tensor:
        length = X.square().sum(dim=1, keepdim=True).sqrt()
        return X / torch.where(length == 0, 1.0, length)


class _SignedRoot(nn.Module):
    def forward(self, X: Tensor) -> Tensor:
        return X.sign() * X.abs().sqrt()


class _Linear(nn.Module):
    """Scores of a linear classifier `[rows, C]`; with two classes (-d, d), as `heads.temperature.class_scores`."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        weight, bias = np.atleast_2d(weight), np.broadcast_to(np.atleast_1d(bias), len(np.atleast_2d(weight)))
        if len(weight) == 1:
            weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])
        self.register_buffer("weight", _double(weight.T))
        self.register_buffer("bias", _double(bias))

    def forward(self, X: Tensor) -> Tensor:
        return X @ self.weight + self.bias


class _Logistic(nn.Module):
    """Probabilities of a logistic regression: the softmax of its scores; with two classes the sigmoid of one."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        half = 0.5 if len(classifier.coef_) == 1 else 1.0  # sigmoid(d) is softmax(-d / 2, d / 2)
        self.scores = _Linear(half * classifier.coef_, half * classifier.intercept_)

    def forward(self, X: Tensor) -> Tensor:
        return self.scores(X).softmax(dim=1)


class _NaiveBayes(nn.Module):
    """Joint log likelihoods of a Gaussian naive Bayes: what all classes share cancels in the softmax behind it."""

    means: Tensor
    precisions: Tensor
    offsets: Tensor

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        offsets = np.log(classifier.class_prior_) - 0.5 * np.log(2 * np.pi * classifier.var_).sum(axis=1)
        self.register_buffer("means", _double(classifier.theta_))
        self.register_buffer("precisions", _double(1 / classifier.var_))
        self.register_buffer("offsets", _double(offsets))

    def forward(self, X: Tensor) -> Tensor:
        squares = (X.unsqueeze(1) - self.means).square() * self.precisions
        return self.offsets - 0.5 * squares.sum(dim=2)


class _Kernels(nn.Module):
    """Margins of one two-class machine a class, each a weighted sum of Gaussian kernels at its support vectors."""

    vectors: Tensor
    weights: Tensor
    bias: Tensor
    gammas: Tensor

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
        self.register_buffer("vectors", _as_stored(vectors.astype(np.float32)))  # they were float32 before
        self.register_buffer("weights", _double(weights))
        self.register_buffer("bias", _double([machine.intercept_[0] for machine in machines]))
        self.gamma = float(machines[0]._gamma)
        assert all(machine._gamma == self.gamma for machine in machines)

    def forward(self, X: Tensor) -> Tensor:
        vectors = self.vectors.double()
        squares = X.square().sum(dim=1, keepdim=True) - 2 * X @ vectors.T + vectors.square().sum(dim=1)
        return (-self.gamma * squares.clamp_min(0)).exp() @ self.weights + self.bias


class _Neighbours(nn.Module):
    """Votes of the most similar training rows."""

    rows: Tensor
    votes: Tensor
    overall: Tensor

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.k = min(classifier.n_neighbors, len(classifier.rows_))
        self.temperature, self.smoothing = classifier.temperature, classifier.smoothing
        self.unit = _UnitRows()
        self.register_buffer("rows", _as_stored(classifier.rows_.T))
        self.register_buffer("votes", _double(classifier.votes_))
        self.register_buffer("overall", _double(classifier.votes_.sum(axis=0) / classifier.votes_.sum()))

    def forward(self, X: Tensor) -> Tensor:
        close, nearest = (self.unit(X).float() @ self.rows).topk(self.k, dim=1)
        strength = ((close.double() - close[:, :1].double()) / self.temperature).exp()
        votes = (strength.unsqueeze(2) * self.votes[nearest]).sum(dim=1)
        votes = votes / votes.sum(dim=1, keepdim=True)
        return (1 - self.smoothing) * votes + self.smoothing * self.overall


class _Boosted(nn.Module):
    baseline: Tensor

    def __init__(self, booster: Any) -> None:
        super().__init__()
        self.trees = Trees(boosted_trees(booster))
        self.register_buffer("baseline", _double(np.ravel(booster._baseline_prediction)))

    def forward(self, X: Tensor) -> Tensor:
        scores = self.trees(X) + self.baseline
        if scores.shape[1] == 1:  # two classes: one score
            scores = torch.cat([-scores / 2, scores / 2], dim=1)
        return scores.softmax(dim=1)


def _linear(classifier: Any) -> nn.Module:
    return _Linear(classifier.coef_, classifier.intercept_)


def _centroid(classifier: Any) -> nn.Module:
    """Minus squared distances in scaled columns; what an image adds to all of them alike is left out."""
    spread = np.where(classifier.within_class_std_dev_ == 0, 1.0, classifier.within_class_std_dev_)
    centres = classifier.centroids_ / spread
    weight = 2 * centres / spread
    bias = 2 * np.log(classifier.class_prior_) - np.square(centres).sum(axis=1)
    if len(weight) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    return _Linear(weight, bias)


_HEADS: dict[str, Callable[[Any], nn.Module]] = {
    "EstimatorHead": lambda head: _MeanOverViews(_Estimator(head)),
    "MLPHead": lambda head: _MeanOverViews(_Perceptron(head)),
    "AverageHead": _Average,
    "StackHead": _Stack,
    "LogitAdjusted": lambda head: nn.Sequential(module_of(head.head), Adjusted(head.prior_, head.tau)),
}
_CLASSIFIERS: dict[str, Callable[[Any], nn.Module]] = {
    "LogisticRegression": _Logistic,
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


def _double(values: Sequence[float] | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64))


def _as_stored(values: np.ndarray) -> Tensor:
    """A large table in its own precision, in memory of its own."""
    return torch.from_numpy(np.ascontiguousarray(values))
