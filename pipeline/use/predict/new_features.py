"""Features of new images, bit for bit those that an extraction would have stored.

A run has written down the whole keys of the features that it was trained on: networks, weights, augmentations and
arithmetic. They are checked against this machine, even where the stores are gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hamcache.cache.chunk import as_stored
from hamcache.cache.keys import FeatureKey, explain, split_digits
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.extract.augmentations import Augmentation, drawn_as_now
from hamcache.extract.backbones import Backbone, BackboneSpec, shared_backbone
from hamcache.extract.draws import ViewDraw, draw_view
from hamcache.extract.forward import FittedViews, batch_size, fit_views, forward
from hamcache.extract.names import full_name, split_kind
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.config.features_config import BlockConfig
from hamcache.pipeline.errors import PredictionError
from hamcache.pipeline.experiment.inputs import PLAIN, image_blocks
from hamcache.pipeline.runs.provenance import whole_keys
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.former_runs import keys_of_former_run, open_store
from hamcache.pipeline.use.predict.machine import Machine

NetworkInputs = list[FittedViews]
"""The views of one image, by network."""


@dataclass(frozen=True, eq=False)
class BlockSource:
    """Origin of one block's features of a new image.

    Attributes:
        spec: The network.
        key: The key of the features; holds their kind, the augmentation and the seed of the draws.
        views: Views that the run predicts from: 0 to `views` - 1.
        store: The store that the run was trained on, if it is here.
        augmentation: The augmentation that views are drawn with.
    """

    spec: BackboneSpec
    key: FeatureKey
    views: int
    store: FeatureStore | None
    augmentation: Augmentation

    @property
    def kind(self) -> str:
        """Kind of features."""
        return self.key.kind


def block_sources(run: Run, root: Root, machine: Machine) -> list[BlockSource]:
    """The sources of a run's blocks but `metadata`, checked against the keys that the run recorded.

    Args:
        run: A head's run.
        root: The features root; the stores need not be there.
        machine: Its networks.

    Raises:
        PredictionError: The weights, the augmentation or the preprocessing are not those that the run was trained on.
    """
    return [_source(run, block, root, machine) for block in image_blocks(run.config.features)]


def _source(run: Run, block: BlockConfig, root: Root, machine: Machine) -> BlockSource:
    policy = run.config.features.views.predict
    asked, digits = split_digits(block.backbone)
    wanted = [block.augmentation, PLAIN] if policy == "plain" else [block.augmentation]

    def fits(key: FeatureKey) -> bool:
        named = key.features_name == full_name(asked) and key.digest.startswith(digits)
        return named and key.augmentation_name in wanted and (policy != "plain" or Augmentation.of(key).starts_plain)

    keys = [key for key in whole_keys(run.provenance) if fits(key)]
    keys = keys or [key for key in keys_of_former_run(run, block, root, machine) if fits(key)]
    if not keys:
        raise _mismatch(run, asked, "the key that the run recorded fits neither precision and no way of cropping")
    key = min(keys, key=lambda key: wanted.index(key.augmentation_name))
    if not drawn_as_now(key):
        raise PredictionError(
            f"Expected a run whose views are drawn as this version draws them, got run {run.id}, trained on views of "
            f"{key.augmentation_name!r} that an older hamcache drew (augmentation.kernels). Predict with that version, "
            "or extract and train again."
        )
    if differences := explain(machine.key(key), key):
        fields = (f"{field} is {ours}, but was {theirs}" for field, ours, theirs in differences[:4])
        raise _mismatch(run, asked, "; ".join(fields))
    views = min(block.views, Augmentation.of(key).distinct_views) if policy == "mean" else 1
    store = open_store(root, key.folder, key.digest)
    return BlockSource(machine.spec_of(key), key, views, store, machine.augmentation(key))


def _mismatch(run: Run, backbone: str, detail: str) -> PredictionError:
    return PredictionError(
        f"Expected the network, weights, preprocessing and recipe that run {run.id} was trained on, but for {backbone} "
        f"they are others here: {detail}. If it was extracted with weights or recipes of your own, give --weights "
        f"{split_kind(backbone)[0]}=FILE or --recipes FILE."
    )


@dataclass(frozen=True, eq=False)
class _Network:
    """One network, the kinds of features it gives, and the blocks that take them."""

    spec: BackboneSpec
    kinds: tuple[str, ...]
    blocks: tuple[int, ...]


class FeatureMaker:
    """Runs the networks of some blocks, each once for all of its blocks; images are drawn and resized one at a time."""

    def __init__(self, sources: Sequence[BlockSource], device: str = "cpu") -> None:
        self.sources, self.device = sources, device
        self._networks = []
        for spec in dict.fromkeys(source.spec for source in sources):
            blocks = [number for number, source in enumerate(sources) if source.spec == spec]
            kinds = tuple(sorted({sources[number].kind for number in blocks}))
            self._networks.append(_Network(spec, kinds, tuple(blocks)))

    def inputs(self, image: torch.Tensor, image_id: str) -> NetworkInputs:
        """The views of one image as each network must see them.

        Args:
            image: uint8 `[3, height, width]`.
            image_id: Random views are drawn by it.
        """
        draws = [[d for number in network.blocks for d in self._draws(number, image_id)] for network in self._networks]
        return fit_views(image, draws, [self._backbone(network) for network in self._networks])

    def features(self, inputs: Sequence[NetworkInputs], image_ids: Sequence[str]) -> list[BlockArrays]:
        """Each block's features of some images: float32 `[n, views, dim]`.

        Args:
            inputs: The views of each image, from `inputs`.
            image_ids: Their ids.
        """
        arrays: dict[int, np.ndarray] = {}
        for place, network in enumerate(self._networks):
            rows = [(n, draw) for n, views in enumerate(inputs) for draw in views[place]]
            row_of = {name: row for row, name in enumerate(rows)}
            vectors = self._forward(network, [inputs[n][place][draw] for n, draw in rows])
            for number in network.blocks:
                wanted = [[row_of[n, d] for d in self._draws(number, i)] for n, i in enumerate(image_ids)]
                source = self.sources[number]
                computed = vectors[source.kind][np.array(wanted, dtype=np.int64)]
                arrays[number] = as_stored(computed, source.key.storage).astype(np.float32, copy=False)
        return [BlockArrays(views=arrays[n], plain=arrays[n]) for n in range(len(self.sources))]

    def _draws(self, block: int, image_id: str) -> list[ViewDraw]:
        source = self.sources[block]
        return [draw_view(source.augmentation, source.key.seed, image_id, view) for view in range(source.views)]

    def _backbone(self, network: _Network) -> Backbone:
        return shared_backbone(network.spec, self.device)

    def _forward(self, network: _Network, views: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
        """Features float32 `[len(views), dim]` of each kind."""
        backbone, batch = self._backbone(network), batch_size(self.device)
        parts = [
            forward(backbone, dict(enumerate(views[start : start + batch])), network.kinds, self.device)
            for start in range(0, len(views), batch)
        ]
        return {kind: np.concatenate([part[kind] for part in parts]) for kind in network.kinds}
