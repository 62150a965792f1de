"""Answers of a run about a whole data set: from cached features, extracted where the cache lacks them, or by a net."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import MissingFeaturesError
from hamcache.cache.storage import Root
from hamcache.data.dataset import Dataset
from hamcache.extract.request import ExtractionRequest
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.errors import EvaluationError
from hamcache.pipeline.use.predict.image_sources import find_sources
from hamcache.pipeline.use.predict.new_features import BlockSource
from hamcache.pipeline.use.predict.predictor import Predictor
from hamcache.pipeline.use.predict.scoring import HeadModel
from hamcache.pipeline.use.predict.seen import TrainingImages

OnImages = Callable[[int, int | None], None]
"""Takes how many images are done, and how many there are."""


@dataclass(frozen=True, eq=False)
class SetAnswers:
    """Answers about the images of a data set that can be used, in the order of their ids.

    Attributes:
        ids: Their ids.
        proba: float64 `[n, C]`, the run's own probabilities.
        unlike_p: float64 `[n]`: share of validation images that are at least as far from the training images; None
            where that is not available.
        nearest, similarity: `[n]`: the most similar training image of each, and the cosine with it.
        errors: Image id -> why it could not be used.
        blocks: Features of each of the run's blocks; of a net, those that training images are looked up by.
    """

    ids: list[str]
    proba: np.ndarray
    unlike_p: np.ndarray | None
    nearest: list[str] | None
    similarity: np.ndarray | None
    errors: dict[str, str]
    blocks: list[BlockArrays]


def answer(
    predictor: Predictor, dataset: Dataset, workers: int | None = None, on_images: OnImages | None = None
) -> SetAnswers:
    """Ask a run about every image of a data set.

    Features go through the cache like those of every extraction, under the run's own keys but for the data set's name:
    the same network, weights, preprocessing, augmentation, seed, precision and kind. Metadata are the data set's; of a
    column that it lacks, every value is absent.

    Args:
        predictor: The run.
        dataset: The images.
        workers: Threads of the extraction.
        on_images: Told how far it is.

    Raises:
        EvaluationError: Not one image could be used.
        MetadataError: A value of the data set is none of its column.
    """
    if isinstance(predictor.model, HeadModel):
        ids, blocks, errors = _cached(predictor, dataset, workers, on_images)
        proba = predictor.model.of_features(blocks, dataset.table.frame.set_index("image_id").loc[ids])
    else:
        ids = list(dataset.table.frame["image_id"])
        sources = find_sources(list(dataset.table.frame["path"]), ids)
        scored = predictor.model(sources, None if on_images is None else lambda done: on_images(done, len(ids)))
        errors = {ids[number]: reason for number, reason in scored.errors.items()}
        proba = np.delete(scored.proba, list(scored.errors), axis=0)
        ids, blocks = [image_id for image_id in ids if image_id not in errors], scored.blocks
    if not ids:
        raise EvaluationError(
            f"Expected images that can be used in {dataset.name}, got none: {next(iter(errors.values()))}."
        )
    seen = predictor.seen
    if not isinstance(seen, TrainingImages):
        return SetAnswers(ids, proba, None, None, None, errors, blocks)
    near, unlike_p = seen.look_up(blocks, 1)
    names = [neighbours[0].image_id if neighbours else "" for neighbours in near]
    cosines = np.array([neighbours[0].similarity if neighbours else np.nan for neighbours in near])
    return SetAnswers(ids, proba, unlike_p, names, cosines, errors, blocks)


def _cached(
    predictor: Predictor, dataset: Dataset, workers: int | None, on_images: OnImages | None
) -> tuple[list[str], list[BlockArrays], dict[str, str]]:
    """Ids and features of the images that can be used, and why others can't."""
    from hamcache.extract.fill import run_extraction  # imports Dask

    sources, root = predictor.model.sources, Root(predictor.workspace.features)
    errors: dict[str, str] = {}
    for group in _passes(sources):
        request = ExtractionRequest(
            dataset.table,
            dataset.digests,
            list(dict.fromkeys((source.spec, source.kind) for source in group)),
            [group[0].augmentation],
            group[0].views,
            group[0].key.seed,
            predictor.device,
            group[0].key.storage,
            source=dataset.words.dataset,
        )
        summary = run_extraction(
            request,
            root,
            workers=workers,
            on_progress=None if on_images is None else lambda p: on_images(p.done, p.total),
        )
        dataset.correct(summary.changed)
        errors |= {image.image_id: image.reason for image in summary.quarantined}
    ids = [image_id for image_id in dataset.table.frame["image_id"] if image_id not in errors]
    return ids, [_read(source, root, dataset, ids) for source in sources], errors


def _passes(sources: Sequence[BlockSource]) -> list[list[BlockSource]]:
    """Blocks whose features are made in one pass over the images: those of the same views."""
    groups: dict[str, list[BlockSource]] = {}
    for source in sources:
        name = json.dumps([dict(source.key.augmentation), source.key.seed, source.key.storage, source.views])
        groups.setdefault(name, []).append(source)
    return list(groups.values())


def _read(source: BlockSource, root: Root, dataset: Dataset, ids: Sequence[str]) -> BlockArrays:
    key = replace(source.key, dataset=dataset.name)
    store = Catalogue(root).get(key)
    if store is None:
        raise MissingFeaturesError(f"Expected the feature store {key.folder} after its extraction, got none.")
    views = store.read(ids, range(source.views), dataset.digests)
    return BlockArrays(views=views, plain=views)
