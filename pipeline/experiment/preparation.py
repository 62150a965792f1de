"""The first step of an experiment: open its inputs, deal the images to parts, and name all that decides its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hamcache.data.curation import Curation, read_curation
from hamcache.data.dataset import open_dataset
from hamcache.data.fewer_labels import fewer_labels
from hamcache.data.given_split import given_split
from hamcache.data.nearest import unknown_name
from hamcache.data.splits import Split, make_folds, make_split
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.heads.errors import MetricError
from hamcache.heads.own_heads import own_heads
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.experiment.learning import Log, Part, parts_of
from hamcache.pipeline.experiment.metadata_block import MetadataBlock
from hamcache.pipeline.runs.provenance import fingerprint, head_identity, net_identity
from hamcache.pipeline.runs.tuned import refuse_seen_images

MELANOMA = "mel"


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment that is ready to be trained.

    Attributes:
        config: The experiment.
        inputs: Data set, features, and the images of a net.
        folds: The parts of each fold; one without cross-validation.
        identity: All that decides its numbers; see `identify`.
        positive: The class that is scored at fixed specificities; None without one.
        curation: Images that were excluded, groups that were merged.
        without_part: Number of images that have no part in a split that was given.
    """

    config: ExperimentConfig
    inputs: Inputs
    folds: list[dict[str, Part]]
    identity: dict[str, Any]
    positive: str | None
    curation: Curation
    without_part: int

    @property
    def fingerprint(self) -> str:
        """sha256 by which the same experiment is found again."""
        return str(self.identity["fingerprint"])

    @property
    def parts(self) -> list[str]:
        """Names of the parts that are predicted and scored; `test` only where it is opened."""
        return list(self.folds[0])

    @property
    def opens_test(self) -> bool:
        """True where the test set is among the parts."""
        return "test" in self.parts


def prepare(
    config: ExperimentConfig,
    workspace: Workspace,
    *,
    test: bool = False,
    inputs: Inputs | None = None,
    on_progress: Log | None = None,
) -> Prepared:
    """Open an experiment's inputs and deal the images to parts; trains nothing. The arguments are `run_experiment`'s.

    Raises:
        MissingFeaturesError: The cache lacks features; the message names the command that makes them.
        MetadataError: The table has no such metadata.
        RunError: A part is empty, or would be judged by a network that was tuned on its images.
        MetricError: The positive class is none of the table's.
    """
    dataset = open_dataset(config.dataset_words, workspace) if inputs is None else inputs.dataset
    curation = curation_of(config, dataset.table)
    dealt = _dealt(config, dataset.table, curation)
    splits = _labelled(config, dealt)
    inputs = open_inputs(config, workspace, dataset=dataset, inputs=inputs)
    if config.net is not None:
        from hamcache.pipeline.experiment.from_images import open_images  # imports torch and timm: only for nets

        inputs = open_images(config, inputs, workspace, on_progress=on_progress)
    names = ["train", "validation", "test"] if test else ["train", "validation"]
    refuse_seen_images([block.backbone for block in config.features.blocks], splits, workspace)
    folds = [parts_of(split, inputs.table, names, inputs.left_out) for split in splits]
    _check_parts(folds, config.split.is_given)
    positive = _positive_class(config, inputs.table.classes)
    identity = identify(config, inputs, splits, curation)
    in_parts = set().union(*(split.frame["image_id"] for split in dealt)) | curation.excluded.keys()
    rest = len(set(dataset.table.frame["image_id"]) - in_parts) if config.split.is_given else 0
    return Prepared(config, inputs, folds, identity, positive, curation, rest)


def require_kept_heads(config: ExperimentConfig, inputs: Inputs, log: Log | None = None) -> None:
    """Try whether heads of one's own could be kept, before features are read and anything is trained.

    Raises:
        OwnHeadError: One could not.
    """
    own = own_heads(config.head.name, config.head.params) if config.features.blocks else []
    if not own:
        return
    from hamcache.heads.own_probe import require_kept  # imports scikit-learn and skops

    dim = sum(block.dim for block in inputs.blocks_of(config.features))
    for name, params in own:
        reason = require_kept(name, params, inputs.table.classes, dim, config.trust)
        if reason is not None and log is not None:
            log(f"{name} could not be tried on drawn features ({reason}): if it can be kept shows when it is trained")


def make_splits(config: ExperimentConfig, table: ImageTable) -> list[Split]:
    """The split of a configuration, or one a fold.

    It is made of the whole table, quarantined images included, so that a file that breaks (or is mended) takes an image
    out of its part and moves no other. Images that are excluded and groups that are merged move no other either.

    Raises:
        TableError: All images are of one class.
        SplitError, CurationError: See `data.splits.make_split` and `data.given_split`.
    """
    return _labelled(config, _dealt(config, table, curation_of(config, table)))


def _dealt(config: ExperimentConfig, table: ImageTable, curation: Curation) -> list[Split]:
    """The split, or one a fold, before labels are taken away from train."""
    table.require_classes("Training")
    asked, seed = config.split, config.seed
    validation: dict[str, Any] = {"validation_fraction": asked.validation_fraction}
    policy = asked.model_dump(include={"policy", "test_fraction", "train_images", "test_seed"})
    if (given := given_split(table, asked.file, asked.column)) is not None:
        return given.splits(table, seed=seed, n_folds=asked.folds, curation=curation, **validation)
    if asked.folds is not None:
        return make_folds(table, asked.folds, seed=seed, curation=curation, **policy)
    return [make_split(table, seed=seed, curation=curation, **policy, **validation)]


def _labelled(config: ExperimentConfig, splits: Sequence[Split]) -> list[Split]:
    """Splits with the labels that the experiment may use."""
    asked, seed = config.split, config.seed
    return [fewer_labels(split, train_share=asked.train_share, shots=asked.shots, seed=seed) for split in splits]


def curation_of(config: ExperimentConfig, table: ImageTable) -> Curation:
    """The content of the files `split.exclude` and `split.merge_groups` of a configuration."""
    return read_curation(table, config.split.exclude, config.split.merge_groups)


def identify(
    config: ExperimentConfig, inputs: Inputs, splits: Sequence[Split], curation: Curation | None = None
) -> dict[str, Any]:
    """Origin of a run's numbers; two runs with the same fingerprint have the same numbers.

    The whole keys of the stores are recorded beside their digests, which alone are in the fingerprint.
    """
    blocks = inputs.blocks_of(config.features)
    stores = [store for block in blocks for store in block.stores]
    in_splits = sorted(set().union(*(split.frame["image_id"].tolist() for split in splits)))
    prints = [split.fingerprint for split in splits]
    curation = curation_of(config, inputs.table) if curation is None else curation
    identity = {
        "table": inputs.table.fingerprint,
        "files": inputs.bytes_fingerprint(in_splits),
        "split": prints[0] if len(prints) == 1 else prints,
        "stores": {store.folder: store.key.digest for store in stores},
        "left_out": {image_id: inputs.left_out[image_id] for image_id in in_splits if image_id in inputs.left_out},
        **({"curation": curation.content} if curation else {}),
        **net_identity(config),
        **head_identity(config),
    }
    for block in blocks:
        if isinstance(block, MetadataBlock):
            frames = [split.frame.loc[split.frame["part"] == "train", "image_id"] for split in splits]
            train = set().union(*frames) - inputs.left_out.keys()
            identity["metadata"] = block.identity(train, in_splits)
    keys = {store.folder: store.key.to_dict() for store in stores}
    return {"fingerprint": fingerprint(config, **identity), **identity, "keys": keys}


def _check_parts(folds: Sequence[Mapping[str, Part]], given: bool) -> None:
    for parts in folds:
        for name, part in parts.items():
            if len(part) == 0:
                advice = f"set split.{name}_fraction above 0" if name != "train" else "lower the other parts' fractions"
                advice = "the split that was given has none" if given else advice
                raise RunError(f"expected images in the part {name!r}, got none; {advice}")


def _positive_class(config: ExperimentConfig, classes: Sequence[str]) -> str | None:
    if config.positive is None:
        return MELANOMA if MELANOMA in classes else None
    if config.positive not in classes:
        raise MetricError(f"positive: {unknown_name('class', config.positive, classes)}")
    return config.positive
