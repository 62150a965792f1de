"""The name of a feature store: a declared spec, hashed.

Everything that changes the stored numbers is in the key, written out as plain JSON; nothing else is. Library versions
are provenance, recorded beside the key. As the key is a document, two keys can be compared field by field (`explain`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

SCHEMA_VERSION = 1
"""Raise it when code changes what is stored for the same spec (batch size, layout, arithmetic)."""

DEFAULT_STORAGE = "float32"
"""Numbers that features are kept as, unless a key says otherwise."""

DEFAULT_KIND = "pre_logits"
"""Kind of features that a backbone's bare name means."""

SHORT = 10
"""Hex digits of the short key that folder names carry."""


@dataclass(frozen=True)
class FeatureKey:
    """Specification of one feature store.

    Attributes:
        dataset: name of the data set.
        backbone: full name of the network, with its weights' tag.
        weights: sha256 of the loaded state dict.
        preprocessing: input size, resizing, crop, mean and standard deviation.
        augmentation: its name and its steps.
        seed: seed of the augmentation draws.
        precision: `fp32` or `bf16`, the arithmetic of the forward pass.
        kind: which features (`pre_logits`: the pooled vector before the classifier).
        schema: version of this layout.
        storage: `float32` or `float16`, the numbers that features are kept as; the first is not written out.
    """

    dataset: str
    backbone: str
    weights: str
    preprocessing: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    seed: int
    precision: str
    kind: str = DEFAULT_KIND
    schema: int = SCHEMA_VERSION
    storage: str = DEFAULT_STORAGE

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return json.loads(self.canonical_json())

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> FeatureKey:
        """Rebuild a key from `to_dict`; raises TypeError on unknown or missing fields."""
        return cls(**spec)

    def canonical_json(self) -> str:
        """One line of JSON, keys sorted, so that equal specs are equal strings."""
        spec = asdict(self)
        if self.storage == DEFAULT_STORAGE:  # as it was before there was another
            del spec["storage"]
        return canonical_json(spec)

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical JSON, as hex."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    @property
    def short(self) -> str:
        """The first digits of the digest, as folder names carry them."""
        return self.digest[:SHORT]

    @property
    def features_name(self) -> str:
        """The backbone, with the kind of features behind a colon unless it is the default one."""
        return self.backbone if self.kind == DEFAULT_KIND else f"{self.backbone}:{self.kind}"

    @property
    def augmentation_name(self) -> str:
        """Name of the augmentation."""
        return str(self.augmentation["name"])

    @property
    def folder(self) -> str:
        """Folder of the store below the features root: `<data set>/<backbone>/<augmentation>-<short key>.zarr`."""
        return f"{self.dataset}/{safe_name(self.backbone)}/{self.augmentation_name}-{self.short}.zarr"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; refuses NaN and anything that is not plain data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def safe_name(name: str) -> str:
    """A backbone's name as one folder name (`torchvision/resnet34` becomes `torchvision--resnet34`)."""
    return name.replace("/", "--").replace(":", "-")


def explain(ours: FeatureKey, theirs: FeatureKey) -> list[tuple[str, Any, Any]]:
    """Fields in which two keys differ: `(dotted field, ours, theirs)`, empty when the keys are equal."""
    left, right = dict(_leaves(ours.to_dict())), dict(_leaves(theirs.to_dict()))
    absent = "(absent)"
    pairs = [(f, left.get(f, absent), right.get(f, absent)) for f in sorted(left.keys() | right.keys())]
    return [(field, a, b) for field, a, b in pairs if a != b]


def _leaves(value: Any, path: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield `(dotted path, leaf)` of nested dicts and lists; empty containers are leaves."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{number}")
    else:
        yield path or "", value
