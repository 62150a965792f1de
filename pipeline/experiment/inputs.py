"""The cached features of an experiment: find its stores, read them once, and hand out rows by image id.

Rows are looked up by image id for every block, so the blocks of a hybrid cannot slip against each other.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import MissingFeaturesError, extract_command
from hamcache.cache.keys import DEFAULT_STORAGE, split_digits
from hamcache.cache.quarantine import Quarantine
from hamcache.cache.store import FeatureStore
from hamcache.data.dataset import Dataset, open_dataset
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.extract.augmentations import Augmentation, drawn_as_now
from hamcache.extract.names import full_name
from hamcache.extract.recipes import recipes_of
from hamcache.heads.views import ViewPolicy
from hamcache.pipeline.config.features_config import BlockConfig, FeaturesConfig
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import FeaturesError
from hamcache.pipeline.experiment.feature_blocks import FeatureBlock
from hamcache.pipeline.experiment.metadata_block import MetadataBlock

if TYPE_CHECKING:
    from hamcache.heads.nets.decoded import DecodedImages

PLAIN = "none"
OpenedBlock = FeatureBlock | MetadataBlock


@dataclass(eq=False)
class Inputs:
    """Data set and features that experiments share: with them `run_experiment` reads the cache once for many runs.

    Attributes:
        dataset: The data set, with the digests of its files as they are now.
        left_out: Quarantined images and the reason of each.
        blocks: The blocks that were opened, by what was asked for (see `blocks_of`).
        images: The decoded images, for a net.
    """

    dataset: Dataset
    left_out: dict[str, str]
    blocks: dict[str, OpenedBlock] = field(default_factory=dict)
    images: "DecodedImages | None" = None

    @property
    def table(self) -> ImageTable:
        """The image table, whole."""
        return self.dataset.table

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of each image's file, `missing` where there is none."""
        return self.dataset.digests

    def blocks_of(self, features: FeaturesConfig) -> list[OpenedBlock]:
        """The blocks of a configuration, opened before.

        Raises:
            FeaturesError: One was not opened.
        """
        absent = [block.backbone for block in features.blocks if _name(block, features) not in self.blocks]
        if absent:
            raise FeaturesError(
                f"expected inputs that hold {', '.join(absent)} as configured, got {', '.join(self.blocks) or 'none'}; "
                "open them with `open_inputs(config, workspace, inputs=inputs)`"
            )
        return [self.blocks[_name(block, features)] for block in features.blocks]

    def load(self, features: FeaturesConfig, image_ids: Sequence[str]) -> list[OpenedBlock]:
        """The blocks of a configuration with the features of these images in memory."""
        blocks = self.blocks_of(features)
        for block in blocks:
            block.load(image_ids, self.digests)
        return blocks

    def bytes_fingerprint(self, image_ids: Sequence[str]) -> str:
        """sha256 over the ids and file digests of these images."""
        pairs = [[image_id, self.digests[image_id]] for image_id in sorted(image_ids)]
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def open_inputs(
    config: ExperimentConfig,
    workspace: Workspace,
    *,
    dataset: Dataset | None = None,
    inputs: Inputs | None = None,
) -> Inputs:
    """Read the table, leave out what is quarantined, and find the stores of a configuration; reads no features yet.

    Args:
        config: Names the data set and the blocks.
        workspace: Holds `features/` and `digests/`.
        dataset: The data set, if it was opened before.
        inputs: Inputs of the same data set, to which this configuration's blocks are added.

    Raises:
        MissingFeaturesError: The cache has no such features; names one command that makes them all.
        MetadataError: The table has no such metadata.
    """
    catalogue = Catalogue(workspace.features)
    if inputs is None:
        dataset = dataset or open_dataset(config.dataset_words, workspace)
        bad = Quarantine(catalogue.root, dataset.name).among(dataset.digests)
        inputs = Inputs(dataset, {image_id: image.reason for image_id, image in bad.items()})
    finder = _Finder(catalogue, inputs.dataset.name, config, workspace)
    for block in config.features.blocks:
        name = _name(block, config.features)
        if name in inputs.blocks:
            continue
        if block.is_metadata:
            inputs.blocks[name] = MetadataBlock.of(block, config, inputs.table)
        elif (opened := finder.block(block)) is not None:
            inputs.blocks[name] = opened
    finder.raise_if_absent()
    return inputs


def stores_needed(config: ExperimentConfig) -> list[tuple[str, str, int]]:
    """Stores that the blocks of a configuration read: (backbone, augmentation, views) of each store."""
    needed, recipes = [], config.augmentations
    for block in image_blocks(config.features):
        n_views, needs_none = _needs(block, config.features.views, recipes.get(block.augmentation))
        if n_views:
            needed.append((block.backbone, block.augmentation, n_views))
        if needs_none:
            needed.append((block.backbone, PLAIN, 1))
    return list(dict.fromkeys(needed))


def image_blocks(features: FeaturesConfig) -> list[BlockConfig]:
    """The blocks that come from the images, by way of the cache: all but `metadata`."""
    return [block for block in features.blocks if not block.is_metadata]


def _needs(block: BlockConfig, policy: ViewPolicy, augmentation: Augmentation) -> tuple[int, bool]:
    """The number of views a block reads of its own store (maybe 0), and whether it needs the store of plain images."""
    needs_none = policy.needs_plain and not augmentation.starts_plain
    if policy.train == policy.predict == "plain" and needs_none:
        return 0, True
    only_first = policy.train == "plain" and policy.predict != "mean"
    return 1 if only_first else min(block.views, augmentation.distinct_views), needs_none


class _Finder:
    """Finds the stores of a configuration's blocks, and remembers what the cache lacks to name it all at once."""

    def __init__(self, catalogue: Catalogue, dataset: str, config: ExperimentConfig, workspace: Workspace) -> None:
        self.catalogue, self.dataset, self.config, self.workspace = catalogue, dataset, config, workspace
        self.recipes = config.augmentations
        self.absent: dict[tuple[str, int], list[str]] = {}

    def block(self, block: BlockConfig) -> FeatureBlock | None:
        """The stores of one block, or None where the cache lacks one."""
        policy = self.config.features.views
        n_views, needs_none = _needs(block, policy, self._augmentation(block.augmentation))
        store = self._store(block.backbone, block.augmentation, n_views) if n_views else None
        plain = self._store(block.backbone, PLAIN, 1) if needs_none else None
        if (n_views and store is None) or (needs_none and plain is None):
            return None
        if policy.needs_plain and not needs_none:
            plain = store
        return FeatureBlock(block, store, plain, max(n_views, 1))

    def raise_if_absent(self) -> None:
        """One error for all that is missing, with one command an augmentation."""
        if not self.absent:
            return
        commands = [
            extract_command(self.config.dataset, ",".join(dict.fromkeys(backbones)), augmentation, views, self._further)
            for (augmentation, views), backbones in self.absent.items()
        ]
        lacking = [f"{name} ({augmentation})" for (augmentation, _), names in self.absent.items() for name in names]
        stores = self.catalogue.stores(self.dataset)
        here = sorted({self._listed(store) for store in stores})
        here += [f"{folder}, which can't be read" for folder in self.catalogue.broken(self.dataset)]
        raise MissingFeaturesError(
            f"The cache has no features of {', '.join(dict.fromkeys(lacking))} for data set {self.dataset!r} "
            f"(it has: {', '.join(here) or 'none'}). "
            f"{self._advice(commands)}"
        )

    def _advice(self, commands: Sequence[str]) -> str:
        """The way to what is missing; a recipe that only the configuration holds has no command of its own."""
        known = recipes_of(self.workspace)
        carried = {
            name
            for name, _ in self.absent
            if name not in known or known.get(name).to_dict() != self.recipes.get(name).to_dict()
        }
        if carried:
            return f"Train with --extract: the recipe of {', '.join(sorted(carried))} is the experiment's own."
        return f"Make them with `{' && '.join(commands)}`, or train with --extract."

    @property
    def _further(self) -> dict[str, object]:
        """Further options of the command that makes what is missing, as far as they are not the defaults."""
        config, features, place = self.config, self.config.features, self.workspace
        return {
            "precision": None if features.precision == "auto" else features.precision,
            "storage": None if features.storage == "auto" else features.storage,
            "aug-seed": features.aug_seed or None,
            "dataset-name": config.dataset_name,
            "workspace": None if place.path == Workspace().path else place.path,
            "features-url": place.features_url,
        }

    def _store(self, backbone: str, augmentation: str, views: int) -> FeatureStore | None:
        features = self.config.features
        name, digits = split_digits(backbone)
        full = f"{full_name(name)}@{digits}" if digits else full_name(name)
        fitting = self._fitting(full, augmentation)
        # `extract` fills one of them: an older one with fewer views is no reason to refuse what has just been made.
        fitting = [store for store in fitting if store.n_views >= views] or fitting
        for name_in_key, most_exact in (("precision", "fp32"), ("storage", DEFAULT_STORAGE)):
            if len({getattr(store.key, name_in_key) for store in fitting}) > 1:
                fitting = [store for store in fitting if getattr(store.key, name_in_key) == most_exact]
        if not fitting:
            self.absent.setdefault((augmentation, views), []).append(name)
            return None
        if len(fitting) == 1:
            return fitting[0]
        seed = features.aug_seed if Augmentation.of(fitting[0].key).is_random else None
        precision = fitting[0].key.precision
        return self.catalogue.one(self.dataset, full, augmentation, precision=precision, seed=seed, views=views)

    def _fitting(self, backbone: str, augmentation: str) -> list[FeatureStore]:
        """Stores as asked for; random views with the seed asked for, and drawn as now unless named by digits."""
        features = self.config.features
        return [
            store
            for store in self.catalogue.find(self.dataset, backbone, augmentation)
            if features.precision in ("auto", store.key.precision)
            and features.storage in ("auto", store.key.storage)
            and (store.key.seed == features.aug_seed or not Augmentation.of(store.key).is_random)
            and ("@" in backbone or self._is_current(store))
        ]

    def _is_current(self, store: FeatureStore) -> bool:
        """True if a store's views are what the name of their augmentation stands for now and here.

        A name that only the cache knows, since the recipe came from elsewhere, stands for what is stored.
        """
        name = store.key.augmentation_name
        if name not in self.recipes:
            return drawn_as_now(store.key)
        return dict(store.key.augmentation) == self.recipes.get(name).to_dict()

    def _augmentation(self, augmentation: str) -> Augmentation:
        """The augmentation of this name: one that is known here, or that of the cache."""
        if augmentation not in self.recipes:
            stores = self.catalogue.find(self.dataset, augmentation=augmentation)
            if stores:
                return Augmentation.of(stores[0].key)
        return self.recipes.get(augmentation)

    def _listed(self, store: FeatureStore) -> str:
        reason = ""
        if not drawn_as_now(store.key):
            reason = ", drawn by an older hamcache"
        elif not self._is_current(store):
            reason = ", of another recipe"
        return f"{store.key.features_name} ({store.key.augmentation_name}{reason})"


def _name(block: BlockConfig, features: FeaturesConfig) -> str:
    """All that decides which stores and views (or which columns) a block reads, as one line."""
    if block.is_metadata:
        return f"{block.backbone} {features.metadata.model_dump_json()}"
    policy = features.views
    parts = (full_name(block.backbone), block.augmentation, block.views, features.precision, features.aug_seed)
    return " ".join(map(str, (*parts, policy.train, policy.predict)))
