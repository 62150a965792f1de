"""A run's own probabilities of new images: its head, or the mean of its folds' heads, on features or on images."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from hamcache.cache.storage import Root
from hamcache.data.errors import BadImageError
from hamcache.heads.logit_adjustment import unadjusted
from hamcache.heads.nets.decoded import ahead, default_threads, in_memory, reduced
from hamcache.heads.views import BlockArrays, prediction_views
from hamcache.pipeline.errors import PredictionError
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.image_sources import Source
from hamcache.pipeline.use.predict.lookalike import lookalike_source
from hamcache.pipeline.use.predict.machine import Machine
from hamcache.pipeline.use.predict.new_features import BlockSource, FeatureMaker, NetworkInputs, block_sources

PORTION = 16
"""Images that one thread decodes and runs through the networks at a time."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Answer of a run's own head or net about some images.

    Attributes:
        proba: float64 `[n, C]`, NaN where an image could not be used.
        blocks: Each source's features `[m, views, dim]` of the `m` images that could be used.
        errors: Reason why an image could not be used, by its position.
    """

    proba: np.ndarray
    blocks: list[BlockArrays]
    errors: dict[int, str]


class Model(Protocol):
    """Predicts images.

    Attributes:
        sources: Features that training images are looked up by: a head's blocks (for a net see `NetModel`).
        heads: The run's head or net, or those of its folds.
    """

    sources: Sequence[BlockSource]
    heads: Sequence[Any]

    def __call__(
        self,
        images: Sequence[Source],
        on_image: Callable[[int], None] | None = None,
        metadata: pd.DataFrame | None = None,
    ) -> Scored:
        """Probabilities of some images.

        Args:
            images: The images.
            on_image: Takes how many are done.
            metadata: A row an image, in their order, for a run that was trained on metadata; without it, absent.
        """


def model_of(run: Run, root: Root, machine: Machine, trust: Collection[str] = ()) -> Model:
    """Load a run's heads and whatever they need; `trust` as in `Run.load_head`.

    Raises:
        HeadFileError: A head is missing or damaged.
        PredictionError: A network or a recipe here is not that of the run.
    """
    folds = run.config.split.folds
    heads = [run.load_head(fold, trust) for fold in ([None] if folds is None else range(1, folds + 1))]
    if run.config.net is not None:
        source = lookalike_source(run, root, machine)
        return NetModel(run, heads, [] if source is None else [source], machine)
    return HeadModel(run, heads, block_sources(run, root, machine), machine.device)


class HeadModel:
    """Heads on features: every image is decoded once for all backbones and views."""

    def __init__(self, run: Run, heads: Sequence[Any], sources: Sequence[BlockSource], device: str) -> None:
        self.sources = sources
        self.heads, self._maker = heads, FeatureMaker(sources, device)
        self._policy = run.config.features.views
        self._n_classes = len(run.classes)
        self._metadata = run.metadata
        self._is_metadata = [block.is_metadata for block in run.config.features.blocks]

    def __call__(
        self,
        images: Sequence[Source],
        on_image: Callable[[int], None] | None = None,
        metadata: pd.DataFrame | None = None,
    ) -> Scored:
        """Probabilities of some images; see `Model`."""
        errors: dict[int, str] = {}
        parts: list[list[BlockArrays]] = []
        kept: list[int] = []
        portions = [range(start, min(start + PORTION, len(images))) for start in range(0, len(images), PORTION)]

        def make(portion: range) -> tuple[list[int], list[BlockArrays], dict[int, str]]:
            return self._features(portion, images)

        threads = default_threads()
        for portion, (there, blocks, failed) in zip(
            portions, ahead(make, portions, threads, waiting=threads), strict=True
        ):
            errors |= failed
            if there:
                kept += there
                parts.append(blocks)
            if on_image:
                on_image(portion.stop)
        proba = np.full((len(images), self._n_classes), np.nan)
        blocks = _all_together(parts, len(self.sources))
        if parts:
            rows = pd.DataFrame(index=range(len(images))) if metadata is None else metadata
            proba[kept] = self.of_features(blocks, rows.iloc[kept])
        return Scored(proba, blocks, errors)

    def of_features(self, blocks: Sequence[BlockArrays], metadata: pd.DataFrame) -> np.ndarray:
        """Probabilities float64 `[n, C]` of images whose features are known, a block a source, and their metadata."""
        from_images = iter(blocks)
        if self._metadata is not None:
            columns = self._metadata.encoded(metadata)[:, None]
            known = BlockArrays(columns, columns)
            blocks = [known if is_metadata else next(from_images) for is_metadata in self._is_metadata]
        joined = prediction_views(blocks, self._policy)
        return np.mean([head.predict_proba(joined) for head in self.heads], axis=0)

    def _features(
        self, portion: range, images: Sequence[Source]
    ) -> tuple[list[int], list[BlockArrays], dict[int, str]]:
        inputs, there, errors = [], [], {}
        for number in portion:
            try:
                inputs.append(self._maker.inputs(images[number].decode(), images[number].image_id))
                there.append(number)
            except BadImageError as error:
                errors[number] = str(error)
        if not there:
            return [], [], errors
        blocks = self._maker.features(inputs, [images[number].image_id for number in there])
        finite = np.ones(len(there), dtype=bool)
        for block in blocks:
            finite &= np.isfinite(block.views).all(axis=(1, 2))
        errors |= {there[row]: "its features are not finite" for row in np.flatnonzero(~finite)}
        blocks = [BlockArrays(block.views[finite], block.views[finite]) for block in blocks]
        return [number for number, good in zip(there, finite, strict=True) if good], blocks, errors


class NetModel:
    """Networks on images, decoded and reduced as they were for training.

    Args:
        run: The run.
        nets: Its net, or its folds' nets.
        sources: Cached features of the training images that images are looked up by, if there are any: they say
            nothing of the probabilities.
        machine: Where they run, and where functions of one's own lie.

    Raises:
        PredictionError: The recipe of prediction is no longer that of the run.
    """

    def __init__(self, run: Run, nets: Sequence[Any], sources: Sequence[BlockSource], machine: Machine) -> None:
        self.sources = sources
        self.heads, self._n_classes, self._maker = nets, len(run.classes), FeatureMaker(sources, machine.device)
        for head in nets:
            net = unadjusted(head)
            net.network_.to(machine.device)
            net.recipes = machine.recipes.placing(net.recipes)
        assert run.config.net is not None
        self._stored_side = run.config.net.params["stored_side"]
        recipe = net.predict_augmentation.to_dict()
        if recipe not in run.provenance.get("recipes", [recipe]):
            raise PredictionError(
                f"Expected the recipe {recipe['name']!r} that run {run.id} predicts with, got another one of this "
                f"name in this version: {recipe}. Train the run again."
            )

    def __call__(
        self,
        images: Sequence[Source],
        on_image: Callable[[int], None] | None = None,
        metadata: pd.DataFrame | None = None,
    ) -> Scored:
        """Probabilities of some images; a net takes no metadata."""
        errors: dict[int, str] = {}
        proba = np.full((len(images), self._n_classes), np.nan)
        parts: list[list[BlockArrays]] = []

        def make(number: int) -> tuple[torch.Tensor, NetworkInputs] | BadImageError:
            try:
                image = images[number].decode()
                return reduced(image, self._stored_side), self._maker.inputs(image, images[number].image_id)
            except BadImageError as error:
                return error

        made = ahead(make, range(len(images)), default_threads(), waiting=PORTION)
        for portion in _of_different_ids(images):
            there: dict[int, tuple[torch.Tensor, NetworkInputs]] = {}
            for number in portion:
                image = next(made)
                if isinstance(image, BadImageError):
                    errors[number] = str(image)
                else:
                    there[number] = image
            if there:
                ids = [images[number].image_id for number in there]
                pixels = in_memory(dict(zip(ids, (image for image, _ in there.values()), strict=True)))
                proba[list(there)] = np.mean([net.predict_proba(pixels) for net in self.heads], axis=0)
                with _threads_kept():
                    parts.append(self._maker.features([inputs for _, inputs in there.values()], ids))
            if on_image:
                on_image(portion.stop)
        return Scored(proba, _all_together(parts, len(self.sources)), errors)


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Give torch back the threads that it had: features are made with one."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _of_different_ids(images: Sequence[Source]) -> Iterator[range]:
    """Consecutive images, `PORTION` at most, none of the same id as another: random views are drawn by id."""
    start, ids = 0, set[str]()
    for number, image in enumerate(images):
        if image.image_id in ids or number - start == PORTION:
            yield range(start, number)
            start, ids = number, set()
        ids.add(image.image_id)
    if start < len(images):
        yield range(start, len(images))


def _all_together(parts: Sequence[Sequence[BlockArrays]], n_blocks: int) -> list[BlockArrays]:
    """Each block's features of all portions, one after the other; no blocks where there are no portions."""
    joined = [np.concatenate([part[number].views for part in parts]) for number in range(n_blocks if parts else 0)]
    return [BlockArrays(views=views, plain=views) for views in joined]
