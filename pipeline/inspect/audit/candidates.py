"""Pairs of images of different groups that are worth a look at their pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamcache.pipeline.inspect.audit.descriptors import searchable
from hamcache.pipeline.inspect.neighbours import Nearest, nearest

_ROWS = 4096  # queries between two calls of on_progress


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
        found: The neighbours, by cosines of these rows.
        level: float32 `[n]`: mean cosine of an image's neighbours.
    """

    rows: np.ndarray
    found: Nearest
    level: np.ndarray

    def cosine(self, pairs: np.ndarray) -> np.ndarray:
        """Cosine of each pair `[n, 2]`, float32 `[n]`."""
        return paired_cosines(self.rows, pairs[:, 0], pairs[:, 1])

    def margin(self, pairs: np.ndarray) -> np.ndarray:
        """How much closer each pair is than its two images are to their neighbours on average, float32 `[n]`.

        Some images are close to many others (blurred ones, dark ones) and say nothing by it. This is half of the
        cross-domain similarity local scaling of Conneau and others (ICLR 2018).
        """
        return self.cosine(pairs) - (self.level[pairs[:, 0]] + self.level[pairs[:, 1]]) / 2

    def would_find(self, pairs: np.ndarray) -> np.ndarray:
        """Whether the images of each pair would be neighbours, were they of two groups: bool `[n]`."""
        last = self.found.similarity.min(axis=1)
        cosine = self.cosine(pairs)
        return (cosine > last[pairs[:, 0]]) | (cosine > last[pairs[:, 1]])


def find_neighbours(
    rows: np.ndarray, groups: np.ndarray, top: int, seed: int, on_progress: Callable[[int], None] | None = None
) -> Neighbourhood:
    """The `top` most similar images of other groups for each image, exactly (see `searchable` for large sets).

    Args:
        rows: float32 `[n, dim]`, of length 1.
        groups: int `[n]`.
        top: How many.
        seed: Of the sample that `searchable` takes.
        on_progress: Called with the number of images done.
    """
    base = searchable(rows, seed)
    reduced = base is not rows
    found = []
    for start in range(0, len(rows), _ROWS):
        some = np.arange(start, min(start + _ROWS, len(rows)))
        near = nearest(base[some], base, 2 * top if reduced else top, query_groups=groups[some], base_groups=groups)
        found.append(_compared_again(rows, some, near, top) if reduced else near)
        if on_progress:
            on_progress(int(some[-1]) + 1)
    near = Nearest(np.concatenate([f.similarity for f in found]), np.concatenate([f.index for f in found]))
    there = near.index >= 0
    total = np.where(there, near.similarity, 0).sum(axis=1)
    return Neighbourhood(rows, near, (total / np.maximum(there.sum(axis=1), 1)).astype(np.float32))


def _compared_again(rows: np.ndarray, queries: np.ndarray, near: Nearest, top: int) -> Nearest:
    """The best `top` of some neighbours by the cosines of all columns."""
    cosine = np.full(near.index.shape, -np.inf, np.float32)
    for place in range(near.index.shape[1]):
        there = near.index[:, place] >= 0
        cosine[there, place] = paired_cosines(rows, queries[there], near.index[there, place])
    order = np.lexsort((near.index, -cosine), axis=1)[:, :top]
    return Nearest(np.take_along_axis(cosine, order, axis=1), np.take_along_axis(near.index, order, axis=1))


def paired_cosines(rows: np.ndarray, first: np.ndarray, second: np.ndarray, block: int = 8192) -> np.ndarray:
    """Products of rows of length 1, float32 `[n]`, a block at a time."""
    out = np.empty(len(first), np.float32)
    for start in range(0, len(first), block):
        some = slice(start, start + block)
        out[some] = np.einsum("ij,ij->i", rows[first[some]], rows[second[some]])
    return out


def choose_candidates(near: Neighbourhood, most: int, least_cosine: float) -> Candidates:
    """The pairs of neighbours that stand out most.

    Args:
        near: The neighbours of each image.
        most: How many pairs at most.
        least_cosine: Pairs that are less similar are none.
    """
    images = np.repeat(np.arange(len(near.rows)), near.found.index.shape[1])
    others = near.found.index.ravel()
    there = (others >= 0) & (near.found.similarity.ravel() >= least_cosine)
    pairs = np.unique(np.sort(np.stack([images[there], others[there]], axis=1), axis=1), axis=0).reshape(-1, 2)
    margin = near.margin(pairs)
    best = np.argsort(-margin, kind="stable")[:most]
    return Candidates(pairs[best], near.cosine(pairs[best]), margin[best])
