"""The request for a backbone, and what every source of backbones gives for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from hamcache.extract.errors import BackboneExtraError
from hamcache.extract.feature_kinds import FeatureForward


@dataclass(frozen=True)
class BackboneSpec:
    """All that is needed to build a backbone anywhere: plain data, so that it can travel to a Dask worker.

    Attributes:
        name: full name (see `extract.names`).
        weights: path of a file of weights (for a run, of its network); None for the backbone's own.
        fit: fitting of images to the input (see `Preprocessing`).
        precision: `fp32` or `bf16`.
    """

    name: str
    weights: str | None = None
    fit: str = "crop"
    precision: str = "fp32"


@dataclass(frozen=True)
class Built:
    """A network as its source gives it.

    Attributes:
        module: the network with its weights.
        config: preparation of its images, as timm's data configurations are: `input_size`, `crop_pct`,
            `interpolation`, `mean`, `std`.
        forward: way to its features.
        code: digest of what decides the features beside the weights; None where libraries alone do.
    """

    module: nn.Module
    config: Mapping[str, Any]
    forward: FeatureForward
    code: str | None = None


class Source(Protocol):
    """A module that builds the backbones of one kind of name."""

    def build(self, spec: BackboneSpec, name: str, pretrained: bool) -> Built:
        """Build a network.

        Args:
            spec: what was asked for.
            name: its name without `random/`.
            pretrained: False leaves the weights random.
        """

    def origin(self, name: str) -> str:
        """Origin of the weights in words, found out without downloading them."""


def missing_extra(name: str, extra: str, error: ImportError) -> BackboneExtraError:
    """The error for a backbone whose library is not installed."""
    return BackboneExtraError(
        f"Expected the library behind {name} to be installed, got {error}. Do `pip install 'hamcache[{extra}]'`."
    )
