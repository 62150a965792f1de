"""Features of new images, bit for bit those that an extraction would have stored.

The networks, recipes and arithmetic are those of the stores that the run was trained on. Their keys are hashes of all
that decides stored numbers, and the run has written them down, so they are checked even where the stores are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from hamcache.cache.errors import CorruptStoreError
from hamcache.cache.keys import FeatureKey, explain
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.extract.augmentations import Augmentation, get_augmentation
from hamcache.extract.backbones import BackboneSpec
from hamcache.extract.draws import ViewDraw, apply_view, draw_view
from hamcache.extract.names import full_name, split_kind
from hamcache.extract.preprocess import FITS
from hamcache.extract.worker import BATCH, shared_backbone
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.config.schema import BlockConfig
from hamcache.pipeline.errors import PredictionError
from hamcache.pipeline.experiment.inputs import PLAIN
from hamcache.pipeline.runs.records import Run

PRECISIONS = ("bf16", "fp32")

NetworkInputs = list[dict[ViewDraw, torch.Tensor]]
"""What each network must see of one image: uint8 `[3, *size]` by draw."""


@dataclass(frozen=True, eq=False)
class BlockSource:
    """How one block's features of a new image come about.

    Attributes:
        spec: The network.
        kind: Which features of it.
        augmentation: Draws the views.
        seed: Of the draws.
        views: How many views the run predicts from: 0 to `views` - 1.
        folder: The store's folder below the features root.
        store: The store itself, if it is here.
    """

    spec: BackboneSpec
    kind: str
    augmentation: Augmentation
    seed: int
    views: int
    folder: str
    store: FeatureStore | None


def block_sources(
    run: Run,
    root: Root,
    *,
    weights: Mapping[str, str] | None = None,
    recipes_file: Path | None = None,
    device: str = "cpu",
) -> list[BlockSource]:
    """The sources of a run's blocks, checked against the keys that the run recorded.

    Args:
        run: A head's run.
        root: Where the feature stores lie, if they do.
        weights: File of weights for some backbones, by name, as `hamcache extract` was given them.
        recipes_file: Recipes other than the packaged ones, for stores that are gone.
        device: `cpu` or `cuda`.

    Raises:
        PredictionError: The weights, the recipe or the preprocessing are not those that the run was trained on.
    """
    files = {full_name(name): path for name, path in (weights or {}).items()}
    recorded: dict[str, str] = run.provenance["stores"]
    stores = {folder: _open(root, folder, digest) for folder, digest in recorded.items()}
    return [_source(run, block, recorded, stores, files, recipes_file, device) for block in run.config.features.blocks]


def _source(
    run: Run,
    block: BlockConfig,
    recorded: Mapping[str, str],
    stores: Mapping[str, FeatureStore | None],
    files: Mapping[str, str],
    recipes_file: Path | None,
    device: str,
) -> BlockSource:
    features = run.config.features
    asked, _, digits = block.backbone.partition("@")
    name, kind = split_kind(asked)
    here = [store for store in stores.values() if store is not None and store.key.features_name == full_name(asked)]
    likely = here[0].key.precision if here else PRECISIONS[0]
    backbone = shared_backbone(BackboneSpec(name, files.get(name, ""), precision=likely), device)
    wanted = [block.augmentation, PLAIN] if features.views.predict == "plain" else [block.augmentation]
    recipes: dict[str, Augmentation] = {}
    for augmentation in wanted:
        own = [store for store in here if store.key.augmentation_name == augmentation]
        recipe = (
            Augmentation.model_validate(dict(own[0].key.augmentation))
            if own
            else get_augmentation(augmentation, recipes_file)
        )
        if features.views.predict != "plain" or recipe.starts_plain:
            recipes[augmentation] = recipe
    dataset = next(iter(recorded)).split("/")[0]
    tried: list[FeatureKey] = []
    for recipe, fit, precision in product(recipes.values(), FITS, PRECISIONS):
        key = FeatureKey(
            dataset=dataset,
            backbone=name,
            weights=backbone.digest,
            preprocessing=replace(backbone.preprocessing, fit=fit).to_dict(),
            augmentation=recipe.to_dict(),
            seed=features.aug_seed if recipe.is_random else 0,
            precision=precision,
            kind=kind,
        )
        tried.append(key)
        if recorded.get(key.folder) == key.digest and key.digest.startswith(digits):
            views = min(block.views, recipe.distinct_views) if features.views.predict == "mean" else 1
            spec = replace(backbone.spec, fit=fit, precision=precision)
            return BlockSource(spec, kind, recipe, key.seed, views, key.folder, stores[key.folder])
    raise PredictionError(_mismatch(run, asked, tried, [store.key for store in here]))


def _open(root: Root, folder: str, digest: str) -> FeatureStore | None:
    """A store that the run was trained on, if it is here and still the same."""
    try:
        store = FeatureStore.open(root, folder)
    except (FileNotFoundError, CorruptStoreError):
        return None
    return store if store.key.digest == digest else None


def _mismatch(run: Run, backbone: str, tried: Sequence[FeatureKey], here: Sequence[FeatureKey]) -> str:
    """In what the network of this machine differs from the one that made the run's features, as far as known."""
    differences = min((explain(ours, theirs) for ours in tried for theirs in here), key=len, default=[])
    known = "; ".join(f"{field} is {ours}, but was {theirs}" for field, ours, theirs in differences[:4])
    detail = known or "the key that the run recorded fits neither precision and no way of cropping"
    return (
        f"Expected the network, weights, preprocessing and recipe that run {run.id} was trained on, but for {backbone} "
        f"they are others here: {detail}. If it was extracted with weights or recipes of your own, give --weights "
        f"{backbone.partition(':')[0]}=FILE or --recipes FILE."
    )


@dataclass(frozen=True, eq=False)
class _Network:
    """One network, what it must see of each image, and which kinds of features it gives."""

    spec: BackboneSpec
    kinds: tuple[str, ...]
    blocks: tuple[int, ...]


class FeatureMaker:
    """Runs the networks of some blocks, each once for all of its blocks; images are drawn and resized one at a time."""

    def __init__(self, sources: Sequence[BlockSource], device: str = "cpu") -> None:
        self.sources, self.device = sources, device
        self._networks = []
        for spec in dict.fromkeys(source.spec for source in sources):
            own = [number for number, source in enumerate(sources) if source.spec == spec]
            kinds = tuple(sorted({sources[number].kind for number in own}))
            self._networks.append(_Network(spec, kinds, tuple(own)))

    def inputs(self, image: torch.Tensor, image_id: str) -> NetworkInputs:
        """What each network must see of one image: uint8 `[3, *size]` by draw.

        Args:
            image: uint8 `[3, height, width]`.
            image_id: Random views are drawn by it.
        """
        drawn: dict[ViewDraw, torch.Tensor] = {}
        seen = []
        for network in self._networks:
            preprocessing = shared_backbone(network.spec, self.device).preprocessing
            draws = dict.fromkeys(draw for number in network.blocks for draw in self._draws(number, image_id))
            for draw in draws:
                if draw not in drawn:
                    drawn[draw] = apply_view(image, draw)
            seen.append({draw: preprocessing.resize(drawn[draw]) for draw in draws})
        return seen

    def features(self, inputs: Sequence[NetworkInputs], image_ids: Sequence[str]) -> list[BlockArrays]:
        """Each block's features of some images: float32 `[n, views, dim]`.

        Networks always see `BATCH` images, the last batch filled up with zeros, as in an extraction, and compute with
        one thread: so the numbers depend neither on the other images nor on the machine's cores.

        Args:
            inputs: What `inputs` gave for each image.
            image_ids: Their ids.
        """
        torch.set_num_threads(1)
        arrays: dict[int, np.ndarray] = {}
        for place, network in enumerate(self._networks):
            rows = [(n, draw) for n, one in enumerate(inputs) for draw in one[place]]
            row_of = {name: row for row, name in enumerate(rows)}
            vectors = self._forward(network, [inputs[n][place][draw] for n, draw in rows])
            for number in network.blocks:
                wanted = [[row_of[n, d] for d in self._draws(number, i)] for n, i in enumerate(image_ids)]
                arrays[number] = vectors[self.sources[number].kind][np.array(wanted, dtype=np.int64)]
        return [BlockArrays(views=arrays[n], plain=arrays[n]) for n in range(len(self.sources))]

    def _draws(self, block: int, image_id: str) -> list[ViewDraw]:
        source = self.sources[block]
        return [draw_view(source.augmentation, source.seed, image_id, view) for view in range(source.views)]

    def _forward(self, network: _Network, views: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
        """Features float32 `[len(views), dim]` of each kind."""
        backbone = shared_backbone(network.spec, self.device)
        parts: dict[str, list[np.ndarray]] = {kind: [] for kind in network.kinds}
        for start in range(0, len(views), BATCH):
            some = views[start : start + BATCH]
            batch = torch.zeros((BATCH, 3, *backbone.preprocessing.size), dtype=torch.uint8)
            batch[: len(some)] = torch.stack(list(some))
            for kind, vectors in backbone.features(batch.to(self.device), network.kinds).items():
                parts[kind].append(vectors[: len(some)].cpu().numpy())
        return {kind: np.concatenate(vectors) for kind, vectors in parts.items()}
