"""Pairs of images of different groups that are worth a look at their pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamcache.pipeline.inspect.audit.descriptors import searchable
from hamcache.pipeline.inspect.neighbours import Nearest, nearest


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs, the one that stands out most first.

    Attributes:
        pairs: int64 `[n, 2]`: rows, the smaller number first, each pair once.
        cosine: float32 `[n]`.
        margin: float32 `[n]`: see `Neighbourhood.margin`.
    """

    pairs: np.ndarray
    cosine: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Each image's most similar images of other groups.

    Attributes:
        rows: float32 `[n, dim]`, of length 1.
        nearest: The neighbours, by cosines of these rows.
        level: float32 `[n]`: mean cosine of an image's neighbours.
    """

    rows: np.ndarray
    nearest: Nearest
    level: np.ndarray

    def cosine(self, pairs: np.ndarray) -> np.ndarray:
        """Cosine of each pair `[n, 2]`, float32 `[n]`."""
        return paired_cosines(self.rows, pairs[:, 0], pairs[:, 1])

    def margin(self, pairs: np.ndarray) -> np.ndarray:
        """Cosine of each pair less what its two images have with their neighbours on average, float32 `[n]`.

        Some images are close to many others (blurred ones, dark ones) and say nothing by it. This is half of the
        cross-domain similarity local scaling of Conneau and others (ICLR 2018).
        """
        return self.cosine(pairs) - (self.level[pairs[:, 0]] + self.level[pairs[:, 1]]) / 2

    def would_find(self, pairs: np.ndarray) -> np.ndarray:
        """bool `[n]`: True where the images of a pair would be neighbours, were they of two groups."""
        last = self.nearest.similarity.min(axis=1)
        cosine = self.cosine(pairs)
        return (cosine > last[pairs[:, 0]]) | (cosine > last[pairs[:, 1]])


def find_neighbours(
    rows: np.ndarray, groups: np.ndarray, top: int, seed: int, on_progress: Callable[[int], None] | None = None
) -> Neighbourhood:
    """The `top` most similar images of other groups for each image, exactly (see `searchable` for large sets).

    Args:
        rows: float32 `[n, dim]`, of length 1.
        groups: int `[n]`.
        top: Number of neighbours.
        seed: Of the sample that `searchable` takes.
        on_progress: Called with the number of images done.
    """
    base = searchable(rows, seed)
    is_reduced = base is not rows
    near = nearest(
        base, base, 2 * top if is_reduced else top, query_groups=groups, base_groups=groups, on_progress=on_progress
    )
    if is_reduced:
        near = _compared_again(rows, near, top)
    there = near.index >= 0
    total = np.where(there, near.similarity, 0).sum(axis=1)
    return Neighbourhood(rows, near, (total / np.maximum(there.sum(axis=1), 1)).astype(np.float32))


def _compared_again(rows: np.ndarray, near: Nearest, top: int) -> Nearest:
    """The best `top` of each image's neighbours by the cosines of all columns."""
    cosine = np.full(near.index.shape, -np.inf, np.float32)
    there = np.nonzero(near.index >= 0)
    cosine[there] = paired_cosines(rows, there[0], near.index[there])
    order = np.lexsort((near.index, -cosine), axis=1)[:, :top]
    return Nearest(np.take_along_axis(cosine, order, axis=1), np.take_along_axis(near.index, order, axis=1))


def paired_cosines(rows: np.ndarray, first: np.ndarray, second: np.ndarray, block: int = 8192) -> np.ndarray:
    """Products of rows of length 1, float32 `[n]`, a block at a time."""
    out = np.empty(len(first), np.float32)
    for start in range(0, len(first), block):
        part = slice(start, start + block)
        out[part] = np.einsum("ij,ij->i", rows[first[part]], rows[second[part]])
    return out


def choose_candidates(near: Neighbourhood, most: int, least_cosine: float) -> Candidates:
    """The pairs of neighbours that stand out most.

    Args:
        near: The neighbours of each image.
        most: Number of pairs at most.
        least_cosine: Pairs that are less similar are none.
    """
    images = np.repeat(np.arange(len(near.rows)), near.nearest.index.shape[1])
    others = near.nearest.index.ravel()
    there = (others >= 0) & (near.nearest.similarity.ravel() >= least_cosine)
    pairs = np.unique(np.sort(np.stack([images[there], others[there]], axis=1), axis=1), axis=0).reshape(-1, 2)
    margin = near.margin(pairs)
    best = np.argsort(-margin, kind="stable")[:most]
    return Candidates(pairs[best], near.cosine(pairs[best]), margin[best])
