"""Inputs that all trials of a sweep share: dealt to parts and laid out once, so that a trial copies none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hamcache.data.workspace import Workspace
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.config.split_config import SplitConfig
from hamcache.pipeline.errors import FeaturesError
from hamcache.pipeline.experiment.feature_blocks import FeatureBlock
from hamcache.pipeline.experiment.inputs import Inputs, OpenedBlock
from hamcache.pipeline.experiment.learning import Log, Part
from hamcache.pipeline.experiment.preparation import require_kept_heads
from hamcache.pipeline.studies.opened import Opened, open_experiments
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, searched_heads, structures

PARTS = ("train", "validation")
"""Parts that a sweep reads: test is not among them."""
Deal = tuple[int, SplitConfig, int | None]
"""Settings that decide the part of each image: seed, split, and the size to which a net's images were reduced."""


@dataclass(eq=False)
class SharedBlock(FeatureBlock):
    """A block whose features are all in memory, parts one after the other: a part is a slice, not a copy.

    Attributes:
        has_plain: Whether view 0 of the views is the plain image, where the policy needs it.
    """

    has_plain: bool = False

    @classmethod
    def of(cls, block: FeatureBlock, order: Sequence[str]) -> SharedBlock:
        """A loaded block with its rows in this order, without its stores; the block itself is emptied.

        Raises:
            FeaturesError: Features are not finite.
        """
        arrays = block.arrays(order)
        views = None if block._views is None else np.ascontiguousarray(arrays.views)
        same = block.store is not None and block.plain_store is block.store
        plain = None if arrays.plain is None or same else np.ascontiguousarray(arrays.plain)
        block._row_of, block._views, block._plain = {}, None, None
        rows = {image_id: row for row, image_id in enumerate(order)}
        return cls(block.config, None, None, block.n_views, rows, views, plain, has_plain=same)

    @property
    def bytes(self) -> int:
        """Size of the features."""
        return sum(array.nbytes for array in (self._views, self._plain) if array is not None)

    @property
    def dim(self) -> int:
        """Length of one feature vector."""
        arrays = self._views if self._views is not None else self._plain
        assert arrays is not None
        return int(arrays.shape[2])

    def load(self, image_ids: Sequence[str], digests: Mapping[str, str]) -> None:
        """Read nothing any more; FeaturesError where an image is not there."""
        absent = [image_id for image_id in image_ids if image_id not in self._row_of]
        if absent:
            raise FeaturesError(
                f"block {self.config.backbone}: expected images that were read before the trials, but {len(absent)} "
                f"({', '.join(absent[:3])}) are not among them"
            )

    def arrays(self, image_ids: Sequence[str]) -> BlockArrays:
        """The rows of these images, in this order; they were found to be finite before."""
        rows = np.array([self._row_of[image_id] for image_id in image_ids], dtype=np.int64)
        chosen: slice | np.ndarray = rows
        if len(rows) and (np.diff(rows) == 1).all():
            chosen = slice(int(rows[0]), int(rows[-1]) + 1)
        plain = None if self._plain is None else self._plain[chosen]
        if self._views is None:
            assert plain is not None
            return BlockArrays(views=plain, plain=plain)
        if self._plain is None and self.has_plain:
            plain = self._views[chosen][:, :1]
        return BlockArrays(views=self._views[chosen], plain=plain)


@dataclass(eq=False)
class Shared:
    """Inputs and parts that the trials share.

    Attributes:
        settings: The sweep.
        inputs: Table and blocks; the images of a net are opened where they are needed.
        folds: The parts of each fold, for every way images are dealt.
        workspace: Where a net's images lie.
    """

    settings: SweepConfig
    inputs: Inputs
    folds: dict[Deal, list[dict[str, Part]]]
    workspace: Workspace
    net_inputs: dict[int | None, Inputs] = field(default_factory=dict, repr=False)

    def inputs_of(self, config: ExperimentConfig) -> Inputs:
        """The inputs that an experiment is trained on; a net's images are opened once a process and size."""
        if config.net is None:
            return self.inputs
        from hamcache.pipeline.experiment.from_images import open_images  # imports torch and timm: only for nets

        side = config.net.params["stored_side"]
        if side not in self.net_inputs:
            self.net_inputs[side] = open_images(config, self.inputs, self.workspace)
        return self.net_inputs[side]

    def folds_of(self, config: ExperimentConfig) -> list[dict[str, Part]]:
        """The parts of an experiment, one a fold."""
        return self.folds[deal_of(config)]

    @property
    def bytes(self) -> int:
        """Size of the features."""
        return sum(block.bytes for block in self.inputs.blocks.values() if isinstance(block, SharedBlock))


def deal_of(config: ExperimentConfig) -> Deal:
    """The settings that decide the part of each image."""
    return config.seed, config.split, None if config.net is None else config.net.params["stored_side"]


def open_sweep(settings: SweepConfig, workspace: Workspace) -> Opened:
    """One experiment for each combination of values that decide what is read, opened together.

    Raises:
        MissingFeaturesError: The cache lacks some; names the commands that make them.
        OwnHeadError: A head of one's own could not be kept.
    """
    opened = open_experiments(structures(settings), workspace)
    for config in searched_heads(settings):
        require_kept_heads(config, opened.inputs)
    return opened


def read_shared(settings: SweepConfig, opened: Opened, log: Log) -> Shared:
    """Read the features (or decode the images) of train and validation, and lay them out part by part."""
    inputs = opened.inputs
    shared = Shared(settings, inputs, {}, opened.workspace)
    for config in opened.configs:
        if deal_of(config) not in shared.folds:
            shared.folds[deal_of(config)] = opened.folds_of(config, PARTS, shared.inputs_of(config))
    dealt = [parts[name] for folds in shared.folds.values() for parts in folds for name in PARTS]
    order = list(dict.fromkeys(image_id for part in dealt for image_id in part.ids))
    blocks: dict[str, OpenedBlock] = {}
    for name, block in inputs.blocks.items():
        block.load(order, inputs.digests)
        blocks[name] = SharedBlock.of(block, order) if isinstance(block, FeatureBlock) else block
    shared.inputs = replace(inputs, blocks=blocks)
    shared.net_inputs = {}
    features = f", {shared.bytes / 1e6:.1f} MB of features" if blocks else ""
    log(f"{len(order)} images of train and validation{features}, read once for all trials")
    return shared
