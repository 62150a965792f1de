"""Experiments of one data set opened together: table, stores and splits, once for all, before features are read."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hamcache.data.splits import Split
from hamcache.data.workspace import Workspace
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.config.split_config import SplitConfig
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.experiment.learning import Part, parts_of
from hamcache.pipeline.experiment.preparation import identify, make_splits, require_kept_heads
from hamcache.pipeline.runs.tuned import refuse_seen_images

COPIES = 6
"""Copies of its training features that a head holds, about: joined, transformed, and in float64 inside scikit-learn."""
NET_BYTES = 2 << 30
"""Memory that a training on images needs, about."""


@dataclass(frozen=True, eq=False)
class Opened:
    """Experiments of one data set, ready to be read.

    Attributes:
        configs: The experiments.
        workspace: Where they lie.
        inputs: Their data set and stores.
        splits: The splits of each way to deal the images, made once.
    """

    configs: tuple[ExperimentConfig, ...]
    workspace: Workspace
    inputs: Inputs
    splits: dict[tuple[int, SplitConfig], list[Split]]

    def splits_of(self, config: ExperimentConfig) -> list[Split]:
        """The splits of an experiment, one a fold."""
        return self.splits[config.seed, config.split]

    def folds_of(self, config: ExperimentConfig, names: Sequence[str], inputs: Inputs) -> list[dict[str, Part]]:
        """The named parts of each fold, without what `inputs` leaves out."""
        return [parts_of(split, inputs.table, names, inputs.left_out) for split in self.splits_of(config)]

    def fingerprint_of(self, config: ExperimentConfig) -> str:
        """The fingerprint of an experiment's run."""
        return str(identify(config, self.inputs, self.splits_of(config))["fingerprint"])

    @property
    def fingerprint(self) -> str:
        """sha256 over all that decides the scores of these experiments."""
        prints = {self.fingerprint_of(config) for config in self.configs}
        return hashlib.sha256(json.dumps(sorted(prints)).encode()).hexdigest()

    def only(self, configs: Sequence[ExperimentConfig]) -> "Opened":
        """Some of the experiments; the features that are read for them are freed with the result."""
        blocks = {name: replace(block) for name, block in self.inputs.blocks.items()}
        return replace(self, configs=tuple(configs), inputs=replace(self.inputs, blocks=blocks))

    def load(self, names: Sequence[str]) -> None:
        """Read the features of the named parts of all experiments into memory."""
        for config in self.configs:
            folds = self.folds_of(config, names, self.inputs)
            image_ids = {image_id for parts in folds for part in parts.values() for image_id in part.ids}
            self.inputs.load(config.features, sorted(image_ids))

    def width_of(self, config: ExperimentConfig) -> int:
        """Numbers that a training image has: features of all blocks, times views."""
        blocks = self.inputs.blocks_of(config.features)
        return sum(block.dim for block in blocks) * max(block.n_views for block in blocks)

    @property
    def bytes_each(self) -> int:
        """Memory that the largest of the experiments needs, about, beside what all share."""
        return max(self._bytes_of(config) for config in self.configs)

    def _bytes_of(self, config: ExperimentConfig) -> int:
        if config.net is not None:
            return NET_BYTES
        images = max(int((split.frame["part"] != "test").sum()) for split in self.splits_of(config))
        return training_bytes(images, self.width_of(config))


def training_bytes(images: int, width: int) -> int:
    """Memory that training a head on so many images of so many numbers needs, about."""
    return COPIES * 4 * images * width


def open_experiments(configs: Iterable[ExperimentConfig], workspace: Workspace) -> Opened:
    """Read the table and find all stores of some experiments, and make their splits; reads no features yet.

    Raises:
        MissingFeaturesError: The cache lacks some; names the commands that make them all.
        RunError: An experiment would be judged by a network that was tuned on its images.
        OwnHeadError: A head of one's own could not be kept.
    """
    configs = tuple(configs)
    first, *others = joined(configs)
    inputs = open_inputs(first, workspace)
    for config in others:
        open_inputs(config, workspace, inputs=inputs)
    dealt = {(config.seed, config.split): config for config in configs}
    opened = Opened(configs, workspace, inputs, {k: make_splits(c, inputs.table) for k, c in dealt.items()})
    for config in configs:
        refuse_seen_images([block.backbone for block in config.features.blocks], opened.splits_of(config), workspace)
        require_kept_heads(config, inputs)
    return opened


def joined(configs: Sequence[ExperimentConfig]) -> list[ExperimentConfig]:
    """The same blocks in as few experiments as there are view policies: what is missing is then named at once."""
    groups: dict[str, list[ExperimentConfig]] = {}
    for config in configs:
        groups.setdefault(config.features.model_copy(update={"blocks": ()}).model_dump_json(), []).append(config)
    together = []
    for group in groups.values():
        blocks = tuple(dict.fromkeys(block for config in group for block in config.features.blocks))
        features = group[0].features.model_copy(update={"blocks": blocks})
        recipes = {name: steps for config in group for name, steps in config.recipes.items()}
        together.append(group[0].model_copy(update={"features": features, "recipes": recipes}))
    return together
