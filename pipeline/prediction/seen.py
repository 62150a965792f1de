"""What a run was trained on, in feature space: an image's nearest training images, and whether it is like any of them.

How far an image is from the training images is the mean distance to the nearest few (Sun et al., ICML 2022, take the
distance to the k-th). Held-out validation images have such distances too: the share of them that are at least as far
is the new image's p-value (conformal anomaly detection, Laxhammar and Falkman 2010), so the flag's rate on images like
those of the data set is known beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cache.errors import CacheError
from heads.views import BlockArrays
from pipeline.neighbours import nearest, unit_rows
from pipeline.prediction.features import BlockSource
from pipeline.runs import Run

NEAREST = 5
"""Training images whose mean distance says how far an image is from them all."""
MOST_HELD_OUT = 2000
"""Validation images whose distances are measured; with more of them, these many evenly spaced ones."""


@dataclass(frozen=True)
class Neighbour:
    """A training image: its id, its label, and the cosine of its features with those of the image (1: the same)."""

    image_id: str
    label: str
    similarity: float


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The training images of a run in feature space, and the distances of its validation images to them.

    Each block's views are averaged, its columns standardised on the training images, its rows scaled to length 1;
    then the blocks are laid side by side. So a cosine is the mean of the blocks' cosines, whatever their scales.

    Attributes:
        image_ids, labels: Of each row.
        features: float32 `[m, dim]`.
        centres, scales: Mean and deviation of each block's columns.
        held_out: float64, sorted: distances of validation images.
    """

    image_ids: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    centres: Sequence[np.ndarray]
    scales: Sequence[np.ndarray]
    held_out: np.ndarray

    def look_up(self, blocks: Sequence[BlockArrays], k: int) -> tuple[list[tuple[Neighbour, ...]], np.ndarray]:
        """The nearest training images of some images, and the p-value of being no further away than validation images.

        Args:
            blocks: Each block's features `[n, views, dim]`.
            k: How many neighbours to name, 0 or more.

        Returns:
            `k` neighbours an image, the most similar first; p-values float64 `[n]`.
        """
        queries = _side_by_side([block.views.mean(axis=1) for block in blocks], self.centres, self.scales)
        found = nearest(queries, self.features, max(k, NEAREST))
        neighbours = [
            tuple(
                Neighbour(str(self.image_ids[row]), str(self.labels[row]), float(similarity))
                for row, similarity in zip(rows[:k], similarities[:k], strict=True)
                if row >= 0
            )
            for rows, similarities in zip(found.index, found.similarity, strict=True)
        ]
        as_far = len(self.held_out) - np.searchsorted(self.held_out, _distances(found.similarity), side="left")
        return neighbours, (as_far + 1) / (len(self.held_out) + 1)

    def least_p(self) -> float:
        """The p-value of an image further away than all validation images: there is none below it."""
        return 1 / (len(self.held_out) + 1)


def training_images(run: Run, sources: Sequence[BlockSource]) -> TrainingImages | str:
    """The training images of a run from its feature stores; where that cannot be, a sentence that says why."""
    absent = [source.folder for source in sources if source.store is None]
    if absent:
        return f"the feature store {absent[0]} that the run was trained on is not here"
    train, held_out = run.part("train"), run.part("validation")
    held_out = held_out.iloc[:: -(-len(held_out) // MOST_HELD_OUT)]
    try:
        own = [_mean_views(source, train) for source in sources]
        others = [_mean_views(source, held_out) for source in sources]
    except CacheError as error:
        return str(error)
    centres = [block.mean(axis=0) for block in own]
    scales = [_scale(block) for block in own]
    features = _side_by_side(own, centres, scales)
    # In a cross-validated run an image is in both parts: then its own lesion does not count.
    codes = pd.factorize(pd.concat([train["group"], held_out["group"]]))[0].astype(np.int64)
    found = nearest(
        _side_by_side(others, centres, scales),
        features,
        NEAREST,
        query_groups=codes[len(train) :],
        base_groups=codes[: len(train)],
    )
    ids, labels = train["image_id"].to_numpy(object), train["label"].to_numpy(object)
    return TrainingImages(ids, labels, features, centres, scales, np.sort(_distances(found.similarity)))


def _mean_views(source: BlockSource, images: pd.DataFrame) -> np.ndarray:
    """Features float32 `[n, dim]` of one block, averaged over the views that the run predicts from."""
    assert source.store is not None
    ids = list(images["image_id"])
    total = source.store.read(ids, [0])[:, 0]
    for view in range(1, source.views):
        total = total + source.store.read(ids, [view])[:, 0]
    return total / source.views


def _scale(block: np.ndarray) -> np.ndarray:
    """Deviation of each column, at least a tenth of their mean: a column that hardly varies shall not outweigh all."""
    deviation = block.std(axis=0)
    return np.maximum(deviation, max(0.1 * deviation.mean(), np.finfo(np.float32).tiny))


def _side_by_side(
    blocks: Sequence[np.ndarray], centres: Sequence[np.ndarray], scales: Sequence[np.ndarray]
) -> np.ndarray:
    rows = [unit_rows((b - c) / s) for b, c, s in zip(blocks, centres, scales, strict=True)]
    return np.concatenate(rows, axis=1) / np.float32(np.sqrt(len(rows)))


def _distances(similarity: np.ndarray) -> np.ndarray:
    """float64 `[n]`: 1 - mean cosine of the first neighbours `[n, k]`, as far as there are any."""
    cosines = similarity[:, :NEAREST].astype(np.float64)
    there = np.isfinite(cosines)
    return 1 - np.where(there, cosines, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
