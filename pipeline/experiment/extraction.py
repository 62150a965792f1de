"""The extract stage for commands, runner and notebooks: from names and a workspace to a filled cache."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.keys import DEFAULT_STORAGE
from hamcache.data.dataset import Dataset, open_dataset
from hamcache.data.workspace import Workspace
from hamcache.extract.fill import ExtractionRequest, ExtractionSummary, Progress, run_extraction
from hamcache.extract.names import full_name, split_kind
from hamcache.extract.recipes import Recipes, recipes_of
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.inputs import stores_needed
from hamcache.pipeline.runs.tuned import tuned_weights

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class FeatureWords:
    """The words that name features, on the command line and in a configuration.

    Attributes:
        backbones: names; `NAME:stages` for features of another kind (see `extract.feature_kinds`).
        augmentations: names.
        views: views of each augmentation.
        seed: seed of the draws.
        precision: `auto`, `fp32` or `bf16`.
        storage: `auto`, `float32` or `float16`; `auto` keeps features as the data set's others, else as float32.
        chunk_mib: see `extract.request.ExtractionRequest`.
        fit: `crop` or `squash` (see `extract.preprocess`).
        weights: file of weights for some backbones, by name.
        recipes: augmentations by name; None: the packaged ones and those of the workspace.
    """

    backbones: Sequence[str]
    augmentations: Sequence[str] = ("none",)
    views: int = 1
    seed: int = 0
    precision: str = "auto"
    storage: str = "auto"
    chunk_mib: float | None = None
    fit: str = "crop"
    weights: Mapping[str, str] = field(default_factory=dict)
    recipes: Recipes | None = None


def extract_features(
    dataset: Dataset,
    workspace: Workspace,
    features: FeatureWords,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> ExtractionSummary:
    """Fill the cache; what is already there is not computed again.

    Args:
        dataset: the images.
        workspace: holds `features/`.
        features: what the cache is to hold.
        workers, scheduler: see `extract.scheduler.dask_client`.
        device: `auto` takes a GPU where there is one.
        on_progress: called after each task.
    """
    from hamcache.extract.backbones import BackboneSpec, require_buildable_elsewhere
    from hamcache.extract.precision import resolve_device, resolve_precision

    if scheduler is not None:
        require_buildable_elsewhere(features.backbones)
    recipes = recipes_of(workspace) if features.recipes is None else features.recipes
    augmentations = [recipes.get(name) for name in features.augmentations]
    device = resolve_device(device)
    precision = resolve_precision(features.precision, device)
    files = tuned_weights(features.backbones, workspace)
    files |= {full_name(name): path for name, path in features.weights.items()}
    named = dict.fromkeys(split_kind(name) for name in features.backbones)
    specs = [(BackboneSpec(n, weights=files.get(n), fit=features.fit, precision=precision), k) for n, k in named]
    request = ExtractionRequest(
        dataset.table,
        dataset.digests,
        specs,
        augmentations,
        features.views,
        features.seed,
        device,
        _storage(features.storage, dataset, workspace),
        features.chunk_mib,
        dataset.words.dataset,
    )
    summary = run_extraction(request, workspace.features, workers=workers, scheduler=scheduler, on_progress=on_progress)
    dataset.correct(summary.changed)
    return summary


def _storage(asked: str, dataset: Dataset, workspace: Workspace) -> str:
    if asked != "auto":
        return asked
    here = {store.key.storage for store in Catalogue(workspace.features).stores(dataset.name)}
    return here.pop() if len(here) == 1 else DEFAULT_STORAGE


def extract_for(
    config: ExperimentConfig,
    workspace: Workspace,
    on_progress: OnProgress | None = None,
    *,
    weights: Mapping[str, str] | None = None,
    device: str = "auto",
) -> list[ExtractionSummary]:
    """Extract what the cache lacks of the features that an experiment reads; one summary for each pass.

    Args:
        config: The experiment.
        workspace: Holds `features/`.
        on_progress, weights, device: See `extract_features` and `FeatureWords`.
    """
    dataset = open_dataset(config.dataset_words, workspace)
    passes = [replace(words, weights=weights or {}) for words in passes_for(config)]
    return [extract_features(dataset, workspace, words, device=device, on_progress=on_progress) for words in passes]


def passes_for(config: ExperimentConfig) -> list[FeatureWords]:
    """The features that each pass over the images extracts, in as few passes as possible.

    A pass decodes each image once, so augmentations of the same backbones and views share one; those that have no
    more views than they are asked for (`none` has one) join a pass of more.
    """
    backbones_of: dict[tuple[str, int], list[str]] = {}
    features, recipes = config.features, config.augmentations
    for backbone, augmentation, views in stores_needed(config):
        backbones_of.setdefault((augmentation, views), []).append(backbone)
    most: dict[tuple[str, ...], int] = {}
    for (_, views), names in backbones_of.items():
        most[tuple(names)] = max(views, most.get(tuple(names), 0))
    passes: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for (augmentation, views), names in backbones_of.items():
        has_no_more = recipes.get(augmentation).distinct_views <= views
        in_pass = most[tuple(names)] if has_no_more else views
        passes.setdefault((tuple(names), in_pass), []).append(augmentation)
    return [
        FeatureWords(
            list(names),
            augmentations,
            views,
            features.aug_seed,
            features.precision,
            features.storage,
            recipes=recipes,
        )
        for (names, views), augmentations in passes.items()
    ]
