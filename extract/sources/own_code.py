"""Networks of one's own: what a function of a module or a file returns, what a package offers, what Python code gives.

Code beside the libraries decides their features, so its digest is in their key (see `extract.sources.code_digest`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FunctionType
from typing import Any

import timm
import torch
from torch import nn

from hamcache.data.errors import CodeNotFoundError
from hamcache.data.named_code import named_code
from hamcache.extract.errors import BackboneCodeError, UnknownBackboneError
from hamcache.extract.feature_kinds import FeatureForward, TimmForward, is_timm, require_kinds
from hamcache.extract.names import KINDS, PRE_LOGITS, is_code
from hamcache.extract.precision import arithmetic
from hamcache.extract.sources.code_digest import code_digest
from hamcache.extract.sources.own_preprocessing import declared_config
from hamcache.extract.sources.source import BackboneSpec, Built
from hamcache.extract.weights import file_state, load_every_key

GROUP = "hamcache.backbones"
"""Entry points by which an installed package offers backbones: `name = "package.module:factory"`."""
SAME = 1e-3
"""Largest accepted difference of features that must be the same, relative to the largest of them."""


@dataclass(frozen=True, eq=False)
class _Given:
    module: nn.Module
    config: Mapping[str, Any]
    code: str


_given: dict[str, _Given] = {}


def give(name: str, module: nn.Module, preprocessing: Any = None) -> bool:
    """Make a network known to this process by a name; True if the name meant another network, or none, before.

    Args:
        name: of one's own, not one that a source of backbones knows.
        module: the network; a copy is kept, so that what is done to it later changes no features.
        preprocessing: see `own_preprocessing.declared_config`.

    Raises:
        BackboneCodeError: its code can't be named exactly.
    """
    if not isinstance(module, nn.Module):
        raise BackboneCodeError(f"Expected a network (torch.nn.Module) for {name}, got {type(module).__name__}.")
    config = declared_config(preprocessing, module)
    held = copy.deepcopy(module).to("cpu")
    new = _Given(held, config, code_digest(held))
    old, _given[name] = _given.get(name), new
    return old is None or old.code != new.code or dict(old.config) != dict(new.config) or not _same_weights(old, new)


def is_given(name: str) -> bool:
    """True for a name that was given to this process with `give`."""
    return name in _given


def offered() -> dict[str, EntryPoint]:
    """Backbones that installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def is_own(name: str) -> bool:
    """True for a network that this module builds."""
    return is_code(name) or is_given(name) or name in offered()


def build(spec: BackboneSpec, name: str, pretrained: bool) -> Built:
    """Build a network of one's own; see `Source`.

    Raises:
        BackboneCodeError: the code fails, or what it gives can't be used or named exactly.
    """
    if not pretrained:
        raise UnknownBackboneError(f"Expected {name} as its code builds it, got {spec.name!r}. Leave out `random/`.")
    factory = None
    if is_given(name):
        module, config = copy.deepcopy(_given[name].module), _given[name].config
    else:
        factory = _factory(name)
        module, config = _made(factory, name)
    if spec.weights:
        load_every_key(module, file_state(Path(spec.weights)), None, spec.weights)
    module.eval().requires_grad_(False)
    forward = TimmForward(module) if is_timm(module) else _OwnForward(module, name, config["input_size"])
    _require_fixed(module, forward, name, config["input_size"])
    return Built(module, config, forward, code_digest(module, factory))


def origin(name: str) -> str:
    """Origin of the weights; see `Source`."""
    if is_given(name):
        return "a network given in Python"
    point = None if is_code(name) else offered()[name]
    return f"the code of {name}" if point is None else f"the code of {point.value}, offered by an installed package"


class _OwnForward:
    """Features of a network that returns them: a tensor, or a tensor by kind."""

    def __init__(self, module: nn.Module, name: str, input_size: Sequence[int]) -> None:
        self._module, self._name = module, name
        with torch.no_grad():
            output = self._outputs(_example(input_size))
        self.kinds = tuple(kind for kind in KINDS if kind in output)

    def __call__(
        self, batch: torch.Tensor, kinds: Sequence[str] = (PRE_LOGITS,), precision: str = "fp32"
    ) -> dict[str, torch.Tensor]:
        require_kinds(kinds, self.kinds)
        with arithmetic(precision, batch.device.type):
            output = self._outputs(batch)
        return {kind: output[kind] for kind in kinds}

    def _outputs(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        output = self._module(batch)
        by_kind = {PRE_LOGITS: output} if isinstance(output, torch.Tensor) else output
        is_fit = isinstance(by_kind, Mapping) and bool(by_kind) and set(by_kind) <= set(KINDS)
        if not is_fit or not all(isinstance(v, torch.Tensor) and v.ndim in (2, 4) for v in by_kind.values()):
            shapes = {key: _words(value) for key, value in by_kind.items()} if isinstance(by_kind, Mapping) else None
            raise BackboneCodeError(
                f"Expected features [n, dim] or maps [n, channels, height, width] from {self._name}, or a dict of them "
                f"by kind ({', '.join(KINDS)}), got {shapes or _words(output)}. Wrap it in a network that returns them."
            )
        vectors = {kind: value.float() for kind, value in by_kind.items()}
        return {kind: value.mean(dim=(2, 3)) if value.ndim == 4 else value for kind, value in vectors.items()}


def _factory(name: str) -> FunctionType | type:
    """The function behind `module:factory`, `file.py:factory` or a name that a package offers."""
    if not is_code(name) and timm.is_model(name):
        raise UnknownBackboneError(
            f"Expected {offered()[name].value} to be offered by a name of its own, got {name!r}, which is timm's."
        )
    place = name if is_code(name) else offered()[name].value
    try:
        return named_code(place)
    except CodeNotFoundError as error:
        kinds = f" Kinds of features are {', '.join(KINDS)}." if is_code(name) else ""
        raise UnknownBackboneError(f"{error}{kinds}") from error


def _made(factory: FunctionType | type, name: str) -> tuple[nn.Module, dict[str, Any]]:
    """The network that a factory returns, and its data configuration."""
    try:
        made = factory()
    except Exception as error:
        raise BackboneCodeError(
            f"Expected {name}() to return a network, or a network and its preprocessing, got "
            f"{type(error).__name__}: {error}."
        ) from error
    module, declared = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise BackboneCodeError(
            f"Expected {name}() to return a torch.nn.Module, or one and its preprocessing, got {_words(made)}."
        )
    return module, declared_config(declared, module)


def _require_fixed(module: nn.Module, forward: FeatureForward, name: str, input_size: Sequence[int]) -> None:
    """Refuse a network whose features of an image change by themselves, or with the images beside it."""
    example = _example(input_size)
    alone = example.clone()
    alone[1:] = 0
    with torch.no_grad():
        first, again, other = (forward(batch, forward.kinds) for batch in (example, example, alone))
    for kind in forward.kinds:
        scale = SAME * first[kind].abs().max()
        if (first[kind] - again[kind]).abs().max() > scale:
            raise _changing(name, "they differ when it is run twice (is something drawn, or counted up?)")
        if (first[kind][0] - other[kind][0]).abs().max() > scale:
            raise _changing(name, "they change with the other images of a batch")


def _changing(name: str, reason: str) -> BackboneCodeError:
    return BackboneCodeError(f"Expected features of {name} that depend on the image alone, but {reason}.")


def _example(input_size: Sequence[int]) -> torch.Tensor:
    """Two images that differ, the same in every process."""
    numbers = torch.arange(2 * input_size[0] * input_size[1] * input_size[2], dtype=torch.float32)
    return torch.sin(numbers * 0.7).reshape(2, *input_size)


def _same_weights(old: _Given, new: _Given) -> bool:
    ours, theirs = old.module.state_dict(), new.module.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def _words(value: Any) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
