"""A linear head trained on cached features as the last layer of the network that made them (LP-FT).

Linear probing, then fine-tuning: a last layer that already fits the features keeps the first steps of fine-tuning from
distorting them (Kumar et al., ICLR 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution").
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from hamcache.heads.base import BaseHead
from hamcache.heads.blocks import BlockTransformer, ScaledPCA
from hamcache.heads.errors import WarmStartError
from hamcache.heads.estimator import EstimatorHead
from hamcache.heads.mlp import MLPHead

Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Matrix `[outputs, inputs]` and offset `[outputs]`."""


@dataclass(frozen=True, eq=False)
class LastLayer:
    """Weight float64 `[C, d]` and bias float64 `[C]` of a linear layer on bare features."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def load_into(self, layer: nn.Linear) -> None:
        """Put the numbers into a layer.

        Raises:
            WarmStartError: the layer has other sizes.
        """
        if tuple(layer.weight.shape) != self.weight.shape:
            raise WarmStartError(
                f"Expected a head for {layer.in_features} features and {layer.out_features} classes, as the network's "
                f"last layer has, got one for {self.weight.shape[1]} and {self.weight.shape[0]}. "
                "Train it on the features of the same backbone."
            )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))
            layer.bias.copy_(torch.from_numpy(self.bias))


def last_layer(head: BaseHead) -> LastLayer:
    """The linear layer on bare features whose softmax gives a fitted head's probabilities.

    The transform of the features (their standardisation) is folded into the weights.

    Raises:
        WarmStartError: the head is not linear: expected `logreg`, or `mlp` without hidden layers and with a loss on a
            softmax, on one block with the transform standardize, pca:<k> or none.
    """
    inner = _linear(head)
    outer = _transform(getattr(head, "blocks_", None))
    if inner is None or outer is None:
        raise WarmStartError(
            "Expected a head that is linear in the features, to start the network's last layer from, got another. Take "
            "logreg, or mlp with hidden: [] and a loss on a softmax, on one block with transform standardize, pca:<k> "
            "or none."
        )
    weight, bias = inner
    matrix, offset = outer
    return LastLayer(weight @ matrix, weight @ offset + bias)


def _linear(head: BaseHead) -> Affine | None:
    if isinstance(head, EstimatorHead) and isinstance(head.classifier_, LogisticRegression):
        if head.pca_ is not None or head.calibrate:
            return None
        weight = head.classifier_.coef_.astype(np.float64)
        bias = head.classifier_.intercept_.astype(np.float64)
        if len(weight) == 1:  # two classes: scikit-learn keeps the logit of the second against the first
            return np.vstack([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
        return weight, bias
    if isinstance(head, MLPHead) and head.hidden == [] and not head.embedding_dim and head.loss != "focal_sigmoid":
        weights = head.weights_
        return weights["layers.0.weight"].astype(np.float64), weights["layers.0.bias"].astype(np.float64)
    return None


def _transform(blocks: BlockTransformer | None) -> Affine | None:
    """A block's transform as a matrix and an offset, if it is one."""
    if blocks is None or len(blocks.steps_) != 1:
        return None
    step: Any = blocks.steps_[0]
    if isinstance(step, ScaledPCA):
        matrix, offset = _standardization(step.scaler_)
        components = step.pca_.components_.astype(np.float64) / step.scale_
        return components @ matrix, components @ (offset - step.pca_.mean_)
    if isinstance(step, StandardScaler):
        return _standardization(step)
    if isinstance(step, FunctionTransformer) and step.func is None:
        return np.eye(blocks.n_features_in_), np.zeros(blocks.n_features_in_)
    return None


def _standardization(scaler: StandardScaler) -> Affine:
    return np.diag(1.0 / scaler.scale_), -scaler.mean_ / scaler.scale_
