"""Cached features that a net's images are looked up by: a net trained from images keeps no features of its own."""

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.keys import DEFAULT_KIND, FeatureKey
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.errors import ExtractError
from hamcache.extract.names import RANDOM, full_name, is_code
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.machine import Machine
from hamcache.pipeline.use.predict.new_features import BlockSource


def lookalike_source(run: Run, root: Root, machine: Machine) -> BlockSource | None:
    """The features of plain images that fit a net best, of those in the cache: its own backbone's, else any network's.

    Only stores that know every training and validation image count, and only networks that can be run here.

    Args:
        run: A net's run.
        root: The features root.
        machine: Its networks.
    """
    assert run.config.net is not None
    trained = full_name(str(run.config.net.params.get("backbone") or ""))
    known = set(run.predictions["image_id"])

    def worth(store: FeatureStore) -> tuple[bool, bool, bool, str]:
        key = store.key
        return key.backbone != trained, key.backbone.startswith(RANDOM), key.precision != "fp32", store.folder

    stores = Catalogue(root).stores(run.provenance["summary"]["dataset"])
    for store in sorted(stores, key=worth):
        key = store.key
        has_plain = Augmentation.of(key).starts_plain and key.kind == DEFAULT_KIND
        # A store that came from elsewhere must not decide which code is run here.
        if has_plain and not is_code(key.backbone) and known <= store.row_of.keys() and _is_here(machine, key):
            return BlockSource(machine.spec_of(key), key, 1, store, Augmentation.of(key))
    return None


def _is_here(machine: Machine, key: FeatureKey) -> bool:
    """True if the network that made a store can be built here and is the same."""
    try:
        return machine.network_key(key).digest == key.digest
    except ExtractError:
        return False
