"""What all trials of a sweep read: opened, dealt to parts and laid out once, so that a trial copies none of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hamcache.data.splits import Split
from hamcache.data.workspace import Workspace
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.config.schema import ExperimentConfig, SplitConfig
from hamcache.pipeline.errors import FeaturesError
from hamcache.pipeline.experiment.feature_blocks import FeatureBlock
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.experiment.learning import Log, Part, parts_of
from hamcache.pipeline.experiment.runner import identify, make_splits
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig, structures

PARTS = ("train", "validation")
"""What a sweep reads: the test part is not among it."""
Deal = tuple[int, SplitConfig, int | None]
"""What decides which image is in which part: seed, split, and the size to which a net's images were reduced."""
COPIES = 5
"""How often a trial holds its features, about: joined, transformed, and what the training makes of them."""
NET_BYTES = 2 << 30
"""What a trial on images needs, about."""


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
        """Nothing is read any more; FeaturesError where an image is not there."""
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
    """What the trials share.

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
        """What an experiment is trained on; a net's images are opened once a process and size."""
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
    """What decides which image is in which part."""
    return config.seed, config.split, None if config.net is None else config.net.params["stored_side"]


@dataclass(eq=False)
class Opened:
    """A sweep's inputs before their features are read.

    Attributes:
        settings: The sweep.
        configs: One experiment for each combination of values that decide what is read.
        inputs: Table and stores.
        fingerprint: sha256 over all of that which decides a trial's score.
    """

    settings: SweepConfig
    configs: list[ExperimentConfig]
    inputs: Inputs
    fingerprint: str
    workspace: Workspace
    splits: dict[tuple[int, SplitConfig], list[Split]]

    @property
    def bytes_a_trial(self) -> int:
        """Memory that one trial needs, about, beside what all share."""
        if self.configs[0].net is not None:
            return NET_BYTES
        widest = 0
        for config in self.configs:
            blocks = self.inputs.blocks_of(config.features)
            rows = max(len(split.frame) for split in self.splits[config.seed, config.split])
            width = sum(block.dim for block in blocks) * max(block.n_views for block in blocks)
            widest = max(widest, COPIES * 4 * rows * width)
        return widest


def open_sweep(settings: SweepConfig, workspace: Workspace) -> Opened:
    """Read the table and find all stores that trials may read; reads no features yet.

    Raises:
        MissingFeaturesError: The cache lacks some; names the commands that make them.
    """
    configs = list(structures(settings))
    inputs: Inputs | None = None
    for config in joined(configs):
        inputs = open_inputs(config, workspace, inputs=inputs)
    assert inputs is not None
    deals = {(one.seed, one.split): one for one in configs}
    made = {key: make_splits(config, inputs.table) for key, config in deals.items()}
    prints = {identify(one, inputs, made[one.seed, one.split])["fingerprint"] for one in configs}
    digest = hashlib.sha256(json.dumps(sorted(prints)).encode()).hexdigest()
    return Opened(settings, configs, inputs, digest, workspace, made)


def joined(configs: Sequence[ExperimentConfig]) -> list[ExperimentConfig]:
    """The same blocks in as few experiments as there are view policies: what is missing is then named at once."""
    groups: dict[str, list[ExperimentConfig]] = {}
    for config in configs:
        groups.setdefault(config.features.model_copy(update={"blocks": ()}).model_dump_json(), []).append(config)
    together = []
    for group in groups.values():
        blocks = tuple(dict.fromkeys(block for config in group for block in config.features.blocks))
        features = group[0].features.model_copy(update={"blocks": blocks})
        together.append(group[0].model_copy(update={"features": features}))
    return together


def read_shared(opened: Opened, log: Log) -> Shared:
    """Read the features (or decode the images) of train and validation, and lay them out part by part."""
    inputs = opened.inputs
    shared = Shared(opened.settings, inputs, {}, opened.workspace)
    for config in opened.configs:
        if deal_of(config) not in shared.folds:
            left_out = shared.inputs_of(config).left_out
            made = opened.splits[config.seed, config.split]
            shared.folds[deal_of(config)] = [parts_of(one, inputs.table, PARTS, left_out) for one in made]
    order: dict[str, None] = {}
    for folds in shared.folds.values():
        for parts in folds:
            for name in PARTS:
                order.update(dict.fromkeys(parts[name].ids))
    blocks: dict[str, FeatureBlock] = {}
    for name, block in inputs.blocks.items():
        block.load(list(order), inputs.digests)
        blocks[name] = SharedBlock.of(block, list(order))
    shared.inputs = replace(inputs, blocks=blocks)
    shared.net_inputs = {}
    features = f", {shared.bytes / 1e6:.1f} MB of features" if blocks else ""
    log(f"{len(order)} images of train and validation{features}, read once for all trials")
    return shared
