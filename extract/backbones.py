"""Frozen networks: build by name, load weights, and turn a batch of images into features."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import torch
from torch import nn

from hamcache.extract.allocator import keep_memory
from hamcache.extract.errors import UnknownBackboneError, WeightsError
from hamcache.extract.feature_kinds import PRE_LOGITS, FeatureForward
from hamcache.extract.folding import fold_batch_norm
from hamcache.extract.names import KINDS, split_kind
from hamcache.extract.preprocess import Preprocessing
from hamcache.extract.sources.choose import bare_name, source_of
from hamcache.extract.sources.source import BackboneSpec, Built
from hamcache.extract.weights import digest_state


@dataclass(frozen=True)
class Backbone:
    """A frozen network with its weights and its preprocessing.

    Attributes:
        spec: what it was built from.
        module: the network, in eval mode, no gradients.
        preprocessing: preparation of its images.
        digest: sha256 of its state dict as loaded (before batch norms are folded).
        forward: way to its features of each kind.
        code: digest of the code that decides its features; None where libraries alone do.
    """

    spec: BackboneSpec
    module: nn.Module
    preprocessing: Preprocessing
    digest: str
    forward: FeatureForward
    code: str | None = None

    @torch.inference_mode()
    def features(self, images: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,)) -> dict[str, torch.Tensor]:
        """Features of each kind, float32 `[n, dim]`, of images uint8 `[n, 3, *preprocessing.size]`, in one pass."""
        return self.forward(self.preprocessing.normalize(images), kinds, self.spec.precision)

    def dims(self, kinds: Sequence[str] = (PRE_LOGITS,)) -> dict[str, int]:
        """Length of a feature vector of each kind."""
        tensors = chain(self.module.parameters(), self.module.buffers())
        device = next((tensor.device for tensor in tensors), torch.device("cpu"))
        image = torch.zeros((1, 3, *self.preprocessing.size), dtype=torch.uint8, device=device)
        return {kind: features.shape[1] for kind, features in self.features(image, kinds).items()}


def load_backbone(spec: BackboneSpec, device: str = "cpu", fold: bool = True) -> Backbone:
    """Build a backbone and load its weights.

    The global random state is left as it was: building a network changes nothing that is drawn later.

    Args:
        spec: which network.
        device: `cpu` or `cuda`.
        fold: fold batch norms into convolutions (see `extract.folding`); not for a network that shall be trained.
            Code of one's own is run as it is written.

    Raises:
        UnknownBackboneError: no such network; offers the nearest names.
        HubUnreachableError: its weights would have to be downloaded and can't be.
        WeightsError: a file of weights does not fit.
        BackboneCodeError: code of one's own fails, or can't be named exactly.
        BackboneExtraError: the library that it comes from is not installed.
    """
    keep_memory()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        built = _build(spec)
    module, forward = built.module, built.forward
    module.eval().requires_grad_(False)
    preprocessing = _preprocessing(built, spec)
    digest = digest_state(module.state_dict())
    if fold and built.code is None:
        with torch.no_grad():
            example = torch.zeros(1, 3, *preprocessing.size)
            example[..., ::3, ::2] = 1.0  # not constant, so that a wrong fold can't hide
            fold_batch_norm(module, example, lambda batch: forward(batch)[PRE_LOGITS])
    module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Backbone(spec, module, preprocessing, digest, forward, built.code)


_loading = threading.Lock()
_loaded = lru_cache(maxsize=16)(load_backbone)


def shared_backbone(spec: BackboneSpec, device: str = "cpu") -> Backbone:
    """A backbone of this process: loaded once, used by all its threads."""
    with _loading:
        return _loaded(spec, device)


def give_backbone(name: str, module: nn.Module, preprocessing: Any = None) -> None:
    """Make a network known to this process by a name of one's own (see `extract.sources.own_code.give`).

    Raises:
        UnknownBackboneError: the name is a source's already.
        BackboneCodeError: its code can't be named exactly.
    """
    import timm

    from hamcache.extract.sources import own_code, timm_models

    is_known = source_of(name) not in (own_code, timm_models) or timm.is_model(name.partition(".")[0])
    if is_known or not name or set(name) & set(":,+@/"):
        raise UnknownBackboneError(
            f"Expected a name of your own for a network, without any of : , + @ /, got {name!r}. Call it otherwise."
        )
    if own_code.give(name, module, preprocessing):
        with _loading:
            _loaded.cache_clear()


def require_buildable_elsewhere(names: Iterable[str]) -> None:
    """Refuse networks that only this process has: a worker of a Dask cluster builds its own from their names.

    Raises:
        UnknownBackboneError: names one that was given from Python.
    """
    from hamcache.extract.sources import own_code

    for name in names:
        if own_code.is_given(split_kind(name)[0]):
            raise UnknownBackboneError(
                f"Expected backbones that the workers of a cluster can build from their names, got {name!r}, a network "
                "given from Python. Give a function that builds it (package.module:function), or leave out the "
                "scheduler."
            )


@dataclass(frozen=True)
class Description:
    """A backbone in words, found out without its weights.

    Attributes:
        name: full name.
        kinds: length of a feature vector of each kind that it gives, the default one first.
        preprocessing: preparation of its images.
        origin: where its weights come from.
        parameters: number of them.
    """

    name: str
    kinds: Mapping[str, int] = field(hash=False)
    preprocessing: Preprocessing
    origin: str
    parameters: int


def describe_backbone(spec: BackboneSpec) -> Description:
    """Kinds, input and origin of a backbone; nothing is downloaded but the description that a model hub may have."""
    name, has_weights = bare_name(spec.name)
    source = source_of(name)
    origin = source.origin(name) if has_weights else "random: for checks"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        built = _described(spec, name)
    preprocessing = _preprocessing(built, spec)
    device = next((parameter.device for parameter in built.module.parameters()), torch.device("cpu"))
    with torch.no_grad():
        features = built.forward(torch.zeros(1, 3, *preprocessing.size, device=device), built.forward.kinds)
    kinds = {kind: features[kind].shape[1] for kind in KINDS if kind in features}
    return Description(spec.name, kinds, preprocessing, origin, sum(p.numel() for p in built.module.parameters()))


def _described(spec: BackboneSpec, name: str) -> Built:
    """The network without its weights; where it can be, on PyTorch's meta device, which computes nothing."""
    from hamcache.extract.sources import own_code

    source = source_of(name)
    if source is own_code or spec.weights:
        return source.build(spec, name, True)
    try:
        with torch.device("meta"):
            built = source.build(spec, name, False)
            built.module.eval()
            built.forward(torch.zeros(1, *built.config["input_size"]), built.forward.kinds)
            return built
    except (RuntimeError, NotImplementedError, ValueError, TypeError):
        built = source.build(spec, name, False)
        built.module.eval()
        return built


def _preprocessing(built: Built, spec: BackboneSpec) -> Preprocessing:
    """The preparation of images: fitted as was asked for, or as the images were that the network was tuned on."""
    return Preprocessing.from_config(built.config, str(built.config.get("fit", spec.fit)))


def _build(spec: BackboneSpec) -> Built:
    name, has_weights = bare_name(spec.name)
    if spec.weights and not has_weights:
        raise WeightsError(
            f"Expected random weights or a file of weights for {spec.name}, got both. Drop one of the two."
        )
    return source_of(name).build(spec, name, has_weights)
