"""Keys of runs that were made before provenance held them whole: such runs recorded digests only."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hamcache.cache.errors import CorruptStoreError
from hamcache.cache.keys import FeatureKey, safe_name, split_digits
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.configs.defaults import FITS
from hamcache.extract.names import split_kind
from hamcache.pipeline.config.features_config import BlockConfig
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.machine import Machine

PRECISIONS = ("bf16", "fp32")


def open_store(root: Root, folder: str, digest: str) -> FeatureStore | None:
    """The store in a folder, if it is here and its key has this digest."""
    try:
        store = FeatureStore.open(root, folder)
    except (FileNotFoundError, CorruptStoreError):
        return None
    return store if store.key.digest == digest else None


def keys_of_former_run(run: Run, block: BlockConfig, root: Root, machine: Machine) -> Iterator[FeatureKey]:
    """Keys of the stores that a block may have read: those of stores that are here, else the one of those which this
    machine could make that has the recorded digest."""
    name, kind = split_kind(split_digits(block.backbone)[0])
    for folder, digest in run.provenance["stores"].items():
        dataset, network, store_name = folder.split("/")
        if network != safe_name(name):
            continue
        if (store := open_store(root, folder, digest)) is not None:
            yield store.key
            continue
        backbone = machine.backbone(machine.spec(name, FITS[0], PRECISIONS[0]))
        augmentation = machine.recipes.get(store_name.rpartition("-")[0])
        for fit, precision in product(FITS, PRECISIONS):
            key = FeatureKey(
                dataset=dataset,
                backbone=name,
                weights=backbone.digest,
                preprocessing=replace(backbone.preprocessing, fit=fit).to_dict(),
                augmentation=augmentation.to_dict(),
                seed=run.config.features.aug_seed if augmentation.is_random else 0,
                precision=precision,
                kind=kind,
            )
            if key.digest == digest:
                yield key
