"""Losses for heads trained by gradient descent, each with the probabilities that belong to its logits.

All of them are sums over the classes of `target x cost`, so class weights, label smoothing and mixup are nothing but
other targets: a [C, C] matrix holds the weighted, smoothed target of each class, and mixup mixes its rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hamcache.heads.class_weights import ClassWeight, class_weights
from hamcache.heads.loss_params import ClassBalancedParams, loss_spec
from hamcache.heads.validation import validated

# Keeps the slope of x^gamma finite at 0 where gamma is below 1.
TINY = 1e-12


class Loss(nn.Module):
    """Mean over rows of the summed `target x cost` of the classes.

    `targets` is float32 [C, C]: row k is what a row of class k should be (smoothed, times its class weight).
    """

    targets: Tensor

    def __init__(self, targets: Tensor):
        super().__init__()
        self.register_buffer("targets", targets)

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss of logits [b, C] for codes int64 [b], or for (mixed) targets float32 [b, C]."""
        return self.rows(logits, y if y.is_floating_point() else self.targets[y]).mean()

    def rows(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row, [b]."""
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities [b, C], rows summing to 1."""
        raise NotImplementedError


class SoftmaxLoss(Loss):
    """Cross-entropy of `softmax(logits + offsets)`, each class's cost times `(1 - p)^gamma`.

    gamma 0 is cross-entropy; gamma > 0 is the focal loss (Lin et al., ICCV 2017). The offsets stand in the loss only:
    probabilities are the softmax of the bare logits.
    """

    offsets: Tensor | None

    def __init__(self, targets: Tensor, gamma: float = 0.0, offsets: Tensor | None = None):
        super().__init__(targets)
        self.gamma = gamma
        self.register_buffer("offsets", offsets)

    def rows(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row, [b]."""
        log_p = F.log_softmax(logits if self.offsets is None else logits + self.offsets, dim=1)
        if self.gamma:
            log_p = log_p * (-log_p.expm1()).clamp_min(TINY) ** self.gamma
        return -(targets * log_p).sum(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax of the logits."""
        return logits.softmax(dim=1)


class SigmoidFocalLoss(Loss):
    """One-against-all focal loss: sigmoids instead of a softmax (Lin et al., ICCV 2017, equation 5).

    A class's cost is `alpha (1 - p)^gamma * -log(p)` where it is the target, else `(1 - alpha) p^gamma * -log(1 - p)`.
    """

    def __init__(self, targets: Tensor, alpha: float, gamma: float):
        super().__init__(targets)
        self.alpha = alpha
        self.gamma = gamma

    def rows(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row, [b]."""
        p, not_p = logits.sigmoid().clamp_min(TINY), (-logits).sigmoid().clamp_min(TINY)
        wanted = self.alpha * not_p**self.gamma * -F.logsigmoid(logits)
        unwanted = (1 - self.alpha) * p**self.gamma * -F.logsigmoid(-logits)
        row_weight = targets.sum(dim=1, keepdim=True)
        return (targets * wanted + (row_weight - targets) * unwanted).sum(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The sigmoids, divided by their sum."""
        return F.logsigmoid(logits).softmax(dim=1)


def effective_number_weights(counts: NDArray[np.int64], beta: float) -> NDArray[np.float64]:
    """Weights `(1 - beta) / (1 - beta^count)` (Cui et al., CVPR 2019), scaled to mean 1 over the training rows."""
    weights = (1 - beta) / -np.expm1(counts * np.log(beta)) if beta > 0 else np.ones(len(counts))
    return weights * counts.sum() / (weights * counts).sum()


def _log_prior(counts: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def _class_balanced(targets: Tensor, counts: NDArray[np.int64], params: ClassBalancedParams) -> SoftmaxLoss:
    weights = torch.from_numpy(effective_number_weights(counts, params.beta)).float()
    return SoftmaxLoss(targets * weights[:, None], params.gamma)


_BUILDERS: dict[str, Callable[[Tensor, NDArray[np.int64], Any], Loss]] = {
    "cross_entropy": lambda targets, counts, params: SoftmaxLoss(targets),
    "focal": lambda targets, counts, params: SoftmaxLoss(targets, params.gamma),
    "focal_sigmoid": lambda targets, counts, params: SigmoidFocalLoss(targets, params.alpha, params.gamma),
    "class_balanced": _class_balanced,
    "balanced_softmax": lambda targets, counts, params: SoftmaxLoss(targets, offsets=_log_prior(counts)),
    "logit_adjusted": lambda targets, counts, params: SoftmaxLoss(targets, offsets=params.tau * _log_prior(counts)),
}
"""How each of `heads.loss_params.LOSSES` is built of targets [C, C], counts [C] and its parameters."""


def build_loss(
    name: str,
    params: Mapping[str, float],
    *,
    counts: NDArray[np.int64],
    classes: Sequence[str],
    class_weight: ClassWeight | Literal["auto"] = "auto",
    label_smoothing: float = 0.0,
) -> Loss:
    """The loss `name` for a training set with `counts` [C] images a class.

    `class_weight` as in `heads.class_weights`, or `auto`: none for losses that correct the imbalance themselves,
    balanced for the others. `label_smoothing` spreads that share of a row's target evenly over all classes.

    Raises:
        UnknownLossError: an unknown name.
        HeadParamsError: parameters the loss does not take, or unfit class weights.
    """
    spec = loss_spec(name)
    checked = validated(spec.params, params, f"loss {name}")
    if class_weight == "auto":
        class_weight = "none" if spec.corrects_imbalance else "balanced"
    weights = torch.from_numpy(class_weights(class_weight, counts, classes)).float()
    smoothed = (1 - label_smoothing) * torch.eye(len(counts)) + label_smoothing / len(counts)
    return _BUILDERS[name](smoothed * weights[:, None], counts, checked)
