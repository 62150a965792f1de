"""Every head of the zoo as a torch module that can become part of an ONNX graph.

Arithmetic is double where scikit-learn's is, so that a head and its module agree to the last digits of float32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hamcache.heads.ensemble import SMALLEST
from hamcache.pipeline.errors import ExportError
from hamcache.pipeline.use.export.onnx_classifiers import CLASSIFIERS, as_stored, double, unit_rows


def module_of(head: Any) -> nn.Module:
    """A fitted head as a module from features float32 `[views, n, dim]` to probabilities float64 `[n, C]`.

    Raises:
        ExportError: A kind of head that has no module; names those that have.
    """
    return _chosen("head", head, _HEADS)(head)


def _chosen(kind: str, fitted: Any, known: dict[str, Callable[[Any], nn.Module]]) -> Callable[[Any], nn.Module]:
    name = type(fitted).__name__
    if name not in known:
        raise ExportError(f"Expected a {kind} that can be exported ({', '.join(known)}), got {name}.")
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

    def __init__(self, prior: np.ndarray, tau: float) -> None:
        super().__init__()
        self.factor = double(prior**-tau)

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
        self.top = _chosen("classifier", head.top_, CLASSIFIERS)(head.top_)

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
        self.classifier = _chosen("classifier", head.classifier_, CLASSIFIERS)(head.classifier_)

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
        return nn.Sequential(_Standardized(step.scaler_), _Components(step.pca_), _Function(lambda X: X / step.scale_))
    if name == "Pipeline":
        return nn.Sequential(*(_step(part) for _, part in step.steps))
    if name == "Normalizer":
        return _Function(unit_rows)
    if name == "FunctionTransformer":
        return nn.Identity() if step.func is None else _Function(lambda X: X.sign() * X.abs().sqrt())
    raise ExportError(f"Expected a transform of blocks that can be exported, got {name}.")


class _Standardized(nn.Module):
    def __init__(self, scaler: Any) -> None:
        super().__init__()
        self.mean = double(scaler.mean_)
        self.scale = double(scaler.scale_)

    def forward(self, X: Tensor) -> Tensor:
        return (X - self.mean) / self.scale


class _Components(nn.Module):
    """Projections on principal components."""

    def __init__(self, pca: Any) -> None:
        super().__init__()
        weight = np.asarray(pca.components_, dtype=np.float64)
        self.weight = as_stored(pca.components_.T)
        self.shift = double(weight @ np.asarray(pca.mean_, dtype=np.float64))

    def forward(self, X: Tensor) -> Tensor:
        return (X @ self.weight.double() - self.shift).float().double()


class _Function(nn.Module):
    """Arithmetic without fitted numbers of its own."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = function


_HEADS: dict[str, Callable[[Any], nn.Module]] = {
    "EstimatorHead": lambda head: _MeanOverViews(_Estimator(head)),
    "LogregPathHead": lambda head: _MeanOverViews(_Estimator(head)),
    "MLPHead": lambda head: _MeanOverViews(_Perceptron(head)),
    "OwnHead": lambda head: _MeanOverViews(_Estimator(head)),
    "AverageHead": _Average,
    "StackHead": _Stack,
    "LogitAdjusted": lambda head: nn.Sequential(module_of(head.head), Adjusted(head.prior_, head.tau)),
}
