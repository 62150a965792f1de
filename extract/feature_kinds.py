"""Kinds of features: which activations of a network, pooled how.

- `pre_logits`: the pooled vector that the network's own classifier would see;
- `stages`: mean and standard deviation over the image of every channel after each stage of the network. The early
  stages know colours and textures, which the last one, made to tell objects apart, has partly thrown away;
- `cls`, `mean`, `cls_mean`: of a transformer, the class token, the mean of the patch tokens, and both side by side
  (DINOv2's protocol), after the last norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from hamcache.extract.errors import UnknownKindError
from hamcache.extract.names import CLS, CLS_MEAN, MEAN, PRE_LOGITS, STAGES
from hamcache.extract.precision import arithmetic

MOST_STAGES = 6
"""A network of more blocks than this (a vision transformer) gives this many, evenly spaced, the last one among them."""


class FeatureForward(Protocol):
    """From a normalised batch to features."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of features that the network gives."""

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        """Features of each kind, float32 `[n, dim]`. Convolutions run in `precision`, pooling always in float32."""


def feature_forward(module: Any, classifier: str) -> FeatureForward:
    """Way from a network to its features; one without `forward_features` loses its classifier layer for it."""
    if is_timm(module):
        return TimmForward(module)
    parent_name, _, child = classifier.rpartition(".")
    setattr(module.get_submodule(parent_name), child, nn.Identity())  # what goes into the last layer is the features
    return _WholeForward(module)


def is_timm(module: Any) -> bool:
    """True for a network with timm's two halves of a forward pass."""
    return hasattr(module, "forward_features") and hasattr(module, "forward_head")


class TimmForward:
    """Features of a timm network."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._indices: list[int] | None = None
        self.kinds: tuple[str, ...] = (PRE_LOGITS,)
        if hasattr(module, "forward_intermediates"):
            self.kinds += (STAGES,)
            self._indices = spaced(len(module.feature_info))
        if hasattr(module, "num_prefix_tokens"):
            has_class_token = getattr(module, "cls_token", None) is not None
            self.kinds += (CLS, MEAN, CLS_MEAN) if has_class_token else (MEAN,)

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        """See `FeatureForward`."""
        require_kinds(kinds, self.kinds)
        with arithmetic(precision, batch.device.type):
            if STAGES in kinds:
                maps, stages = self._module.forward_intermediates(batch, indices=self._indices)
            else:
                maps, stages = self._module.forward_features(batch), []
        features = {}
        if PRE_LOGITS in kinds:
            features[PRE_LOGITS] = self._module.forward_head(maps.float(), pre_logits=True).flatten(1)
        if STAGES in kinds:
            features[STAGES] = stage_features(stages)
        if MEAN in self.kinds and maps.ndim == 3:
            features |= token_features(maps.float(), self._module.num_prefix_tokens, kinds)
        return features


class _WholeForward:
    kinds = (PRE_LOGITS,)

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        require_kinds(kinds, self.kinds)
        with arithmetic(precision, batch.device.type):
            return {PRE_LOGITS: self._module(batch).float().flatten(1)}


def token_features(tokens: torch.Tensor, n_prefix: int, kinds: Sequence[str]) -> dict[str, torch.Tensor]:
    """Those of `cls`, `mean` and `cls_mean` that are asked for, of tokens float32 `[n, tokens, dim]`.

    Args:
        tokens: the class token (if there is one) first, then further prefix tokens, then the patches.
        n_prefix: tokens that are no patches.
        kinds: kinds of features.
    """
    features = {CLS: tokens[:, 0], MEAN: tokens[:, n_prefix:].mean(dim=1)}
    features[CLS_MEAN] = torch.cat([features[CLS], features[MEAN]], dim=1)
    return {kind: vectors for kind, vectors in features.items() if kind in kinds}


def stage_features(stages: Sequence[torch.Tensor]) -> torch.Tensor:
    """float32 `[n, sum of 2 c]` of the maps `[n, c, h, w]` of each stage: mean and deviation of every channel."""
    parts = []
    for maps in stages:
        variance, mean = torch.var_mean(maps.float(), dim=(2, 3), correction=0)
        parts += [mean, variance.sqrt()]
    return torch.cat(parts, dim=1)


def spaced(n_stages: int) -> list[int] | None:
    """Numbers of the stages that are taken; None for all."""
    if n_stages <= MOST_STAGES:
        return None
    return [round((step + 1) * n_stages / MOST_STAGES) - 1 for step in range(MOST_STAGES)]


def require_kinds(kinds: Sequence[str], known: Sequence[str]) -> None:
    """Refuse kinds of features that a network doesn't give.

    Raises:
        UnknownKindError: names those that it gives.
    """
    for kind in kinds:
        if kind not in known:
            raise UnknownKindError(
                f"Expected features of a kind that this network gives ({', '.join(known)}), got {kind!r}. Name another."
            )
