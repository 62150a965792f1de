"""Classifiers of torchvision with their default ImageNet weights."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from hamcache.extract.errors import UnknownBackboneError
from hamcache.extract.feature_kinds import feature_forward
from hamcache.extract.names import TORCHVISION
from hamcache.extract.sources.source import BackboneSpec, Built
from hamcache.extract.weights import availability, file_state, load_every_key, require_hub


def build(spec: BackboneSpec, name: str, pretrained: bool) -> Built:
    """Build a classifier of torchvision; see `Source`."""
    weights, pretrained = _weights(name), pretrained and not spec.weights
    if pretrained and not _file(weights).exists():
        require_hub(spec.name, "/".join(weights.url.split("/")[:3]))
    module = torchvision.models.get_model(name.removeprefix(TORCHVISION), weights=weights if pretrained else None)
    linear = [n for n, part in module.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise UnknownBackboneError(
            f"Expected a linear classifier, whose input are the features, in {spec.name}, got none. Take another one."
        )
    if spec.weights:
        load_every_key(module, file_state(Path(spec.weights)), linear[-1], spec.weights)
    preset = preset_config(weights.transforms())
    return Built(module, preset, feature_forward(module, linear[-1]))


def origin(name: str) -> str:
    """Origin of the weights; see `Source`."""
    weights = _weights(name)
    return f"{weights.url}, {availability(_file(weights).exists())}"


def known_names() -> list[str]:
    """All of torchvision's classifiers, without the beginning `torchvision/`."""
    return torchvision.models.list_models(module=torchvision.models)


def is_known(name: str) -> bool:
    """True for a classifier of torchvision."""
    return name.removeprefix(TORCHVISION) in known_names()


def preset_config(preset: Any) -> dict[str, Any]:
    """A data configuration from torchvision's `ImageClassification` preset."""
    return {
        "input_size": (3, preset.crop_size[0], preset.crop_size[0]),
        "crop_pct": preset.crop_size[0] / preset.resize_size[0],
        "interpolation": preset.interpolation.value,
        "mean": preset.mean,
        "std": preset.std,
    }


def _weights(name: str) -> Any:
    """The default weights of a classifier."""
    bare = name.removeprefix(TORCHVISION)
    if not is_known(name):
        near = get_close_matches(bare, known_names(), n=3)
        hint = f" Did you mean {' or '.join(TORCHVISION + n for n in near)}?" if near else ""
        raise UnknownBackboneError(f"Expected a torchvision classifier, got {name!r}.{hint}")
    return torchvision.models.get_model_weights(bare).DEFAULT


def _file(weights: Any) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
