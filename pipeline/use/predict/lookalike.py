"""Which cached features a net's images are looked up by: a net trained from images keeps no features of its own."""

from collections.abc import Mapping
from dataclasses import replace

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.keys import DEFAULT_KIND, FeatureKey
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import BackboneSpec
from hamcache.extract.errors import ExtractError
from hamcache.extract.names import RANDOM, full_name
from hamcache.extract.worker import shared_backbone
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.new_features import BlockSource


def lookalike_source(
    run: Run, root: Root, *, weights: Mapping[str, str] | None = None, device: str = "cpu"
) -> BlockSource | None:
    """The features of plain images that fit a net best, of those in the cache: its own backbone's, else any network's.

    Only stores that know every training and validation image count, and only networks that can be run here.

    Args:
        run: A net's run.
        root: Where the feature stores lie.
        weights: File of weights for some backbones, by name.
        device: `cpu` or `cuda`.
    """
    assert run.config.net is not None
    files = {full_name(name): path for name, path in (weights or {}).items()}
    own = full_name(str(run.config.net.params.get("backbone") or ""))
    known = set(run.predictions["image_id"])

    def worth(store: FeatureStore) -> tuple[bool, bool, bool, str]:
        key = store.key
        return key.backbone != own, key.backbone.startswith(RANDOM), key.precision != "fp32", store.folder

    stores = Catalogue(root).stores(run.provenance["summary"]["dataset"])
    for store in sorted(stores, key=worth):
        augmentation = Augmentation.model_validate(dict(store.key.augmentation))
        if augmentation.starts_plain and store.key.kind == DEFAULT_KIND and known <= store.row_of.keys():
            spec = _network_of(store.key, files.get(store.key.backbone, ""), device)
            if spec is not None:
                return BlockSource(spec, store.key.kind, augmentation, store.key.seed, 1, store.folder, store)
    return None


def _network_of(key: FeatureKey, weights: str, device: str) -> BackboneSpec | None:
    """The network that made a store, if it can be built here and is the same."""
    spec = BackboneSpec(key.backbone, weights, str(key.preprocessing.get("fit")), key.precision)
    try:
        backbone = shared_backbone(spec, device)
    except ExtractError:
        return None
    ours = replace(key, weights=backbone.digest, preprocessing=backbone.preprocessing.to_dict())
    return spec if ours.digest == key.digest else None
