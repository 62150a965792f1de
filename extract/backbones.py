"""Frozen networks: build by name, load weights, and turn a batch of images into features."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from hamcache.extract.allocator import keep_memory
from hamcache.extract.errors import UnknownBackboneError, WeightsError
from hamcache.extract.feature_kinds import PRE_LOGITS, FeatureForward, feature_forward
from hamcache.extract.folding import fold_batch_norm
from hamcache.extract.names import EMBEDDED, RANDOM, TORCHVISION, full_name
from hamcache.extract.preprocess import Preprocessing
from hamcache.extract.weights import digest_state, file_state, load_every_key, packaged_state, require_hub


@dataclass(frozen=True)
class BackboneSpec:
    """All that is needed to build a backbone anywhere: plain data, so that it can travel to a Dask worker.

    Attributes:
        name: full name (see `extract.names`).
        weights: path of a file of weights; None for the backbone's own.
        fit: fitting of images to the input (see `Preprocessing`).
        precision: `fp32` or `bf16`.
    """

    name: str
    weights: str | None = None
    fit: str = "crop"
    precision: str = "fp32"


@dataclass(frozen=True)
class Backbone:
    """A frozen network with its weights and its preprocessing.

    Attributes:
        spec: what it was built from.
        module: the network, in eval mode, no gradients.
        preprocessing: preparation of its images.
        digest: sha256 of its state dict as loaded (before batch norms are folded).
        forward: way to its features of each kind.
    """

    spec: BackboneSpec
    module: nn.Module
    preprocessing: Preprocessing
    digest: str
    forward: FeatureForward

    @torch.inference_mode()
    def features(self, images: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,)) -> dict[str, torch.Tensor]:
        """Features of each kind, float32 `[n, dim]`, of images uint8 `[n, 3, *preprocessing.size]`, in one pass."""
        return self.forward(self.preprocessing.normalize(images), kinds, self.spec.precision)

    def dims(self, kinds: Sequence[str] = (PRE_LOGITS,)) -> dict[str, int]:
        """Length of a feature vector of each kind."""
        device = next(self.module.parameters()).device
        image = torch.zeros((1, 3, *self.preprocessing.size), dtype=torch.uint8, device=device)
        return {kind: features.shape[1] for kind, features in self.features(image, kinds).items()}


def load_backbone(spec: BackboneSpec, device: str = "cpu", fold: bool = True) -> Backbone:
    """Build a backbone and load its weights.

    The global random state is left as it was: building a network changes nothing that is drawn later.

    Args:
        spec: which network.
        device: `cpu` or `cuda`.
        fold: fold batch norms into convolutions (see `extract.folding`); not for a network that shall be trained.

    Raises:
        UnknownBackboneError: no such network; offers the nearest names.
        HubUnreachableError: its weights would have to be downloaded and can't be.
        WeightsError: a file of weights does not fit.
    """
    keep_memory()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module, config, classifier = _build(spec)
    module.eval().requires_grad_(False)
    forward = feature_forward(module, classifier)
    preprocessing = Preprocessing.from_config(config, spec.fit)
    digest = digest_state(module.state_dict())
    if fold:
        with torch.no_grad():
            example = torch.zeros(1, 3, *preprocessing.size)
            example[..., ::3, ::2] = 1.0  # not constant, so that a wrong fold can't hide
            fold_batch_norm(module, example, lambda batch: forward(batch)[PRE_LOGITS])
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Backbone(spec, module, preprocessing, digest, forward)


_loading = threading.Lock()
_loaded = lru_cache(maxsize=16)(load_backbone)


def shared_backbone(spec: BackboneSpec, device: str = "cpu") -> Backbone:
    """A backbone of this process: loaded once, used by all its threads."""
    with _loading:
        return _loaded(spec, device)


def _build(spec: BackboneSpec) -> tuple[nn.Module, dict[str, Any], str]:
    """The network with its weights, its data configuration, and the name of its classifier layer."""
    name, is_random = spec.name.removeprefix(RANDOM), spec.name.startswith(RANDOM)
    if is_random and spec.weights:
        raise WeightsError(
            f"Expected random weights or a file of weights for {spec.name}, got both. Drop one of the two."
        )
    if name.startswith(TORCHVISION):
        return _build_torchvision(spec, name.removeprefix(TORCHVISION), is_random)
    return _build_timm(spec, name, is_random)


def _build_timm(spec: BackboneSpec, name: str, is_random: bool) -> tuple[nn.Module, dict[str, Any], str]:
    name = full_name(name)
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownBackboneError(
            f"Expected a timm model, torchvision/NAME or random/NAME, got {spec.name!r}.{hint} "
            "`hamcache backbones` lists what is installed."
        )
    pretrained = not is_random and not spec.weights
    try:
        if pretrained and name not in EMBEDDED:
            _require_timm_weights(name)
        module = timm.create_model(name, pretrained=pretrained and name not in EMBEDDED)
    except RuntimeError as error:  # an unknown tag, or no weights to be had
        raise UnknownBackboneError(
            f"Expected weights of {name} from timm, got an error: {error}. Give a file: --weights {name}=FILE."
        ) from error
    config = timm.data.resolve_data_config({}, model=module)
    classifiers = timm.get_pretrained_cfg_value(name, "classifier") or "classifier"
    classifier = classifiers if isinstance(classifiers, str) else classifiers[0]
    if pretrained and name in EMBEDDED:
        module.load_state_dict(packaged_state(name, module.state_dict()))
    if spec.weights:
        load_every_key(module, file_state(Path(spec.weights)), classifier, spec.weights)
    return module, config, classifier


def _require_timm_weights(name: str) -> None:
    """Return if timm's weights are in the local model cache or the hub answers."""
    from huggingface_hub import constants, try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    repository = config.hf_hub_id if config else None
    files = ("model.safetensors", "pytorch_model.bin")
    if repository and not any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        require_hub(name, constants.ENDPOINT)


def _build_torchvision(spec: BackboneSpec, name: str, is_random: bool) -> tuple[nn.Module, dict[str, Any], str]:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join('torchvision/' + n for n in near)}?" if near else ""
        raise UnknownBackboneError(f"Expected a torchvision classifier, got {spec.name!r}.{hint}")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    pretrained = not is_random and not spec.weights
    if pretrained and not (Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name).exists():
        require_hub(spec.name, "/".join(weights.url.split("/")[:3]))
    module = torchvision.models.get_model(name, weights=weights if pretrained else None)
    linear = [n for n, part in module.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise UnknownBackboneError(
            f"Expected a linear classifier, whose input are the features, in {spec.name}, got none. Take another one."
        )
    if spec.weights:
        load_every_key(module, file_state(Path(spec.weights)), linear[-1], spec.weights)
    preset = weights.transforms()
    config = {
        "input_size": (3, preset.crop_size[0], preset.crop_size[0]),
        "crop_pct": preset.crop_size[0] / preset.resize_size[0],
        "interpolation": preset.interpolation.value,
        "mean": preset.mean,
        "std": preset.std,
    }
    return module, config, linear[-1]
