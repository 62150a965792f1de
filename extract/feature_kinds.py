"""Kinds of features: which activations of a network, pooled how.

- `pre_logits`: the pooled vector that the network's own classifier would see;
- `stages`: mean and standard deviation over the image of every channel after each stage of the network. The early
  stages know colours and textures, which the last one, made to tell objects apart, has partly thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from hamcache.extract.errors import UnknownKindError
from hamcache.extract.names import KINDS, PRE_LOGITS, STAGES
from hamcache.extract.precision import arithmetic

MOST_STAGES = 6
"""A network of more blocks than this (a vision transformer) gives this many, evenly spaced, the last one among them."""


class FeatureForward(Protocol):
    """From a normalised batch to features."""

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        """Features of each kind, float32 `[n, dim]`. Convolutions run in `precision`, pooling always in float32."""


def feature_forward(module: Any, classifier: str) -> FeatureForward:
    """Way from a network to its features; one without `forward_features` loses its classifier layer for it."""
    if hasattr(module, "forward_features") and hasattr(module, "forward_head"):
        return _TimmForward(module)
    parent_name, _, child = classifier.rpartition(".")
    setattr(module.get_submodule(parent_name), child, nn.Identity())  # what goes into the last layer is the features
    return _WholeForward(module)


class _TimmForward:
    def __init__(self, module: Any) -> None:
        self._module = module
        self._indices: list[int] | None = None
        if hasattr(module, "forward_intermediates") and (n := len(module.feature_info)) > MOST_STAGES:
            self._indices = [round((step + 1) * n / MOST_STAGES) - 1 for step in range(MOST_STAGES)]

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        _check(kinds, KINDS if hasattr(self._module, "forward_intermediates") else (PRE_LOGITS,))
        with arithmetic(precision, batch.device.type):
            if STAGES in kinds:
                maps, stages = self._module.forward_intermediates(batch, indices=self._indices)
            else:
                maps, stages = self._module.forward_features(batch), []
        features = {}
        if PRE_LOGITS in kinds:
            features[PRE_LOGITS] = self._module.forward_head(maps.float(), pre_logits=True).flatten(1)
        if STAGES in kinds:
            features[STAGES] = torch.cat([_mean_and_deviation(stage) for stage in stages], dim=1)
        return features


class _WholeForward:
    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        _check(kinds, (PRE_LOGITS,))
        with arithmetic(precision, batch.device.type):
            return {PRE_LOGITS: self._module(batch).float().flatten(1)}


def _mean_and_deviation(maps: torch.Tensor) -> torch.Tensor:
    """float32 `[n, 2 c]` of maps `[n, c, h, w]`."""
    variance, mean = torch.var_mean(maps.float(), dim=(2, 3), correction=0)
    return torch.cat([mean, variance.sqrt()], dim=1)


def _check(kinds: Sequence[str], known: Sequence[str]) -> None:
    for kind in kinds:
        if kind not in known:
            raise UnknownKindError(
                f"Expected features of a kind that this network gives ({', '.join(known)}), got {kind!r}. Name another."
            )
