"""Networks of timm: by name, from a model hub, or from a folder."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm

from hamcache.extract.errors import HubUnreachableError, UnknownBackboneError
from hamcache.extract.feature_kinds import feature_forward
from hamcache.extract.names import EMBEDDED, HF_HUB, LOCAL_DIR, full_name
from hamcache.extract.sources.source import BackboneSpec, Built
from hamcache.extract.weights import (
    availability,
    file_state,
    is_in_hub_cache,
    load_every_key,
    packaged_state,
    require_hub_files,
)

FILES = ("model.safetensors", "pytorch_model.bin")
"""Names under which a repository of timm's may hold the weights."""


def build(spec: BackboneSpec, name: str, pretrained: bool) -> Built:
    """Build a network of timm; see `Source`."""
    name = full_name(name)
    pretrained = pretrained and not spec.weights
    is_embedded = name in EMBEDDED
    try:
        if name.startswith(HF_HUB):
            require_hub_files(name, name.removeprefix(HF_HUB), ("config.json",))
        elif not name.startswith(LOCAL_DIR):
            _require_known(spec.name, name)
            config = timm.get_pretrained_cfg(name)
            if pretrained and not is_embedded and config and config.hf_hub_id:
                require_hub_files(name, config.hf_hub_id, FILES)
        module = timm.create_model(name, pretrained=pretrained and not is_embedded)
    except (HubUnreachableError, UnknownBackboneError):
        raise
    except Exception as error:  # an unknown tag, no weights to be had, a folder or repository of another kind
        raise UnknownBackboneError(
            f"Expected weights of {name} from timm, got an error: {error}. Give a file: --weights {name}=FILE."
        ) from error
    classifier = classifier_of(module)
    if pretrained and is_embedded:
        module.load_state_dict(packaged_state(name, module.state_dict()))
    if spec.weights:
        load_every_key(module, file_state(Path(spec.weights)), classifier, spec.weights)
    return Built(module, timm.data.resolve_data_config({}, model=module), feature_forward(module, classifier))


def origin(name: str) -> str:
    """Origin of the weights; see `Source`."""
    name = full_name(name)
    if name in EMBEDDED:
        return "installed with hamcache"
    if name.startswith(LOCAL_DIR):
        return f"the folder {name.removeprefix(LOCAL_DIR)}"
    config = None if name.startswith(HF_HUB) else timm.get_pretrained_cfg(name)
    repository = name.removeprefix(HF_HUB) if name.startswith(HF_HUB) else config and config.hf_hub_id
    if not repository:
        return str(config.url) if config and config.url else "none are published: give a file with --weights"
    return f"{repository} on the Hugging Face hub, {availability(is_in_hub_cache(repository, FILES))}"


def classifier_of(module: Any) -> str:
    """Name of the last layer of a network of timm."""
    classifiers: Any = getattr(module, "pretrained_cfg", {}).get("classifier") or "classifier"
    return classifiers if isinstance(classifiers, str) else classifiers[0]


def _require_known(asked: str, name: str) -> None:
    if timm.is_model(name):
        return
    near = get_close_matches(name, timm.list_models(), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UnknownBackboneError(
        f"Expected a timm model or one of hf-hub:, local-dir:, torchvision/, open_clip/, transformers/, "
        f"module:factory, random/NAME, got {asked!r}.{hint} `hamcache backbones` lists what is installed."
    )
