"""Origin of a run's numbers in a form that can be compared: fingerprints, keys and versions."""

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hamcache.cache.keys import FeatureKey
from hamcache.extract.names import LOCAL_DIR, TRANSFORMERS
from hamcache.heads.own_heads import own_heads, own_identity
from hamcache.pipeline.config.features_config import BlockConfig
from hamcache.pipeline.config.renamed import former
from hamcache.pipeline.config.schema import ExperimentConfig

LIBRARIES = ("hamcache", "numpy", "pandas", "scikit-learn", "torch", "torchvision", "timm", "skorch", "zarr", "dask")

_HELD_ELSEWHERE = ("dataset", "dataset_name", "columns", "recipes", "trust")
_NAMES_ONLY = ("exclude", "merge_groups", "file", "column")


def fingerprint(config: ExperimentConfig, **parts: Any) -> str:
    """sha256 over all that decides a run's numbers, so that the same experiment is recognised.

    Args:
        config: The resolved configuration. How the data set was named does not count: the table's fingerprint does.
            Nor do the names of files of exclusions, merged groups and splits (or of a column): what they say counts.
            Nor do recipes: the keys of the stores, or the recipes of a net among the parts, hold them.
        parts: Fingerprints and plain values of all else (table, files, splits, stores, images left out).
    """
    content = {key: v for key, v in former(config.content()).items() if key not in _HELD_ELSEWHERE}
    content["split"] = {key: v for key, v in content["split"].items() if key not in _NAMES_ONLY}
    return hashlib.sha256(json.dumps([content, parts], sort_keys=True).encode()).hexdigest()


def net_identity(config: ExperimentConfig) -> dict[str, Any]:
    """Content of what a net's parameters only name: recipes and a file of weights; empty for a head."""
    if config.net is None:
        return {}
    params = config.net.params
    names = {params["augmentation"], params["predict_augmentation"]}
    identity: dict[str, Any] = {"recipes": [config.augmentations.get(name).to_dict() for name in sorted(names)]}
    if params.get("weights"):
        identity["weights"] = hashlib.sha256(Path(params["weights"]).read_bytes()).hexdigest()
    place = Path(str(params.get("backbone", "")).removeprefix(LOCAL_DIR).removeprefix(TRANSFORMERS))
    if place.name and place.is_dir():  # a backbone named by its folder
        files = sorted(path for path in place.iterdir() if path.suffix in (".json", ".safetensors", ".bin"))
        identity["folder"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return identity


def head_identity(config: ExperimentConfig) -> dict[str, Any]:
    """Versions of packages and digests of code that decide the results of heads of one's own; empty for the zoo's.

    Raises:
        OwnHeadError: That can't be said.
    """
    if not config.features.blocks:
        return {}
    names = [name for name, _ in own_heads(config.head.name, config.head.params)]
    return {"own_heads": own_identity(names)} if names else {}


def whole_keys(provenance: Mapping[str, Any]) -> list[FeatureKey]:
    """Keys of the feature stores that a run read; runs made before they were recorded have their digests only."""
    digests = provenance.get("stores", {})
    keys = {folder: FeatureKey.from_dict(key) for folder, key in provenance.get("keys", {}).items()}
    return [key for folder, key in keys.items() if key.digest == digests.get(folder)]


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries a number may depend on."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def summary(config: ExperimentConfig, dataset: str) -> dict[str, Any]:
    """Words of a run for lists of runs, which do not read its configuration."""
    return {
        "head": config.model_name,
        "features": _features_words(config),
        "dataset": dataset,
        "policy": config.split.words,
        "seed": config.seed,
    }


def _features_words(config: ExperimentConfig) -> str:
    """The blocks of a head; for a net `images`, and the backbone it fine-tunes."""
    if config.net is None:
        return "+".join(_block_words(block) for block in config.features.blocks)
    backbone = config.net.params.get("backbone")
    return f"images:{backbone}" if backbone else "images"


def _block_words(block: BlockConfig) -> str:
    """`resnet34` for the plain image, `resnet34:flip x4` for four views of `flip`."""
    if block.augmentation == "none" and block.views == 1:
        return block.backbone
    return f"{block.backbone}:{block.augmentation} x{block.views}"
