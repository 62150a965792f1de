"""The training images of a run in feature space: those nearest to an image, and a test of likeness to them all.

The distance of an image to the training images is the mean distance to the nearest few (Sun et al., ICML 2022, take the
distance to the k-th), each column standardised. Distances, not angles: the statistics of stages (`NAME:stages`) of
quite another picture are larger rather than of another direction, so that by angles a photograph of a house is an
ordinary skin lesion.

Held-out validation images have such distances too: the share of them that are at least as far
is the new image's p-value (conformal anomaly detection, Laxhammar and Falkman 2010), so the flag's rate on images like
those of the data set is known beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hamcache.cache.errors import CacheError
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.inspect.neighbours import JointSpace, nearest, side_by_side
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.predict.new_features import BlockSource

AT_A_TIME = 512
"""Queries that are compared with all training images at a time."""
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

    Each block's views are averaged, its columns standardised on the training images, and the blocks are laid side by
    side, scaled so that all count alike: in squared distances, and in cosines (see `inspect.neighbours.JointSpace`).

    Attributes:
        image_ids, labels: Of each row.
        directions: float32 `[m, dim]`, each block's rows scaled to one length: neighbours are looked up by cosine.
        positions: float32 `[m, dim]`: distances are between these.
        space: Turns blocks of features into directions and positions.
        held_out: float64, sorted: distances of validation images.
    """

    image_ids: np.ndarray
    labels: np.ndarray
    directions: np.ndarray
    positions: np.ndarray
    space: JointSpace
    held_out: np.ndarray

    def look_up(self, blocks: Sequence[BlockArrays], k: int) -> tuple[list[tuple[Neighbour, ...]], np.ndarray]:
        """The nearest training images of some images, and the p-value of being no further away than validation images.

        Args:
            blocks: Each block's features `[n, views, dim]`.
            k: Number of neighbours to name, 0 or more.

        Returns:
            `k` neighbours an image, the most similar first; p-values float64 `[n]`.
        """
        queries = self.space.standardised([block.views.mean(axis=1) for block in blocks])
        as_far = len(self.held_out) - np.searchsorted(
            self.held_out, _distances(_positions(queries), self.positions), side="left"
        )
        p_values = (as_far + 1) / (len(self.held_out) + 1)
        if k == 0:
            return [()] * len(p_values), p_values
        nearby = nearest(side_by_side(queries), self.directions, k)
        neighbours = [
            tuple(
                Neighbour(str(self.image_ids[row]), str(self.labels[row]), float(similarity))
                for row, similarity in zip(rows, similarities, strict=True)
                if row >= 0
            )
            for rows, similarities in zip(nearby.index, nearby.similarity, strict=True)
        ]
        return neighbours, p_values

    def least_p(self) -> float:
        """The p-value of an image further away than all validation images: there is none below it."""
        return 1 / (len(self.held_out) + 1)


def training_images(run: Run, sources: Sequence[BlockSource]) -> TrainingImages | str:
    """The training images of a run from its feature stores; where that cannot be, a sentence that says why."""
    absent = [source.key.folder for source in sources if source.store is None]
    if absent:
        return f"the feature store {absent[0]} that the run was trained on is not here"
    train, held_out = run.part("train"), run.part("validation")
    held_out = held_out.iloc[:: -(-len(held_out) // MOST_HELD_OUT)]
    try:
        training = [_mean_views(source, train) for source in sources]
        validation = [_mean_views(source, held_out) for source in sources]
    except CacheError as error:
        return str(error)
    space = JointSpace.of(training)
    standardised = space.standardised(training)
    positions = _positions(standardised)
    # In a cross-validated run an image is in both parts: then its own lesion does not count.
    codes = pd.factorize(pd.concat([train["group"], held_out["group"]]))[0].astype(np.int64)
    far = _distances(_positions(space.standardised(validation)), positions, codes[len(train) :], codes[: len(train)])
    ids, labels = train["image_id"].to_numpy(object), train["label"].to_numpy(object)
    return TrainingImages(ids, labels, side_by_side(standardised), positions, space, np.sort(far))


def _mean_views(source: BlockSource, images: pd.DataFrame) -> np.ndarray:
    """Features float32 `[n, dim]` of one block, averaged over the views that the run predicts from."""
    assert source.store is not None
    ids = list(images["image_id"])
    total = source.store.read(ids, [0])[:, 0]
    for view in range(1, source.views):
        total = total + source.store.read(ids, [view])[:, 0]
    return total / source.views


def _positions(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks side by side; a block's mean squared column counts alike, however many columns it has."""
    rows = [block / np.float32(np.sqrt(block.shape[1] * len(blocks))) for block in blocks]
    return np.concatenate(rows, axis=1)


def _distances(
    queries: np.ndarray,
    base: np.ndarray,
    query_groups: np.ndarray | None = None,
    base_groups: np.ndarray | None = None,
) -> np.ndarray:
    """float64 `[n]`: mean distance of each query to the `NEAREST` rows of `base`, those of its own group left out."""
    lengths = np.square(base).sum(axis=1)
    k = min(NEAREST, len(base))
    distances = []
    for start in range(0, len(queries), AT_A_TIME):
        portion = queries[start : start + AT_A_TIME]
        squares = np.square(portion).sum(axis=1)[:, None] + lengths - 2 * (portion @ base.T)
        if query_groups is not None and base_groups is not None:
            squares[query_groups[start : start + AT_A_TIME, None] == base_groups] = np.inf
        closest = np.sqrt(np.maximum(np.partition(squares, k - 1, axis=1)[:, :k], 0).astype(np.float64))
        there = np.isfinite(closest)
        distances.append(np.where(there, closest, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1))
    return np.concatenate(distances) if distances else np.empty(0)
