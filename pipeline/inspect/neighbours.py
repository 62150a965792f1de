"""The most similar rows of one set of features to those of another, exactly, a block at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.pipeline.errors import NeighboursError


@dataclass(frozen=True, eq=False)
class Nearest:
    """The neighbours of each query, the most similar first.

    Attributes:
        similarity: float32 `[n, k]`, cosines; -inf where there is no further neighbour.
        index: int64 `[n, k]`, rows of the base; -1 where there is none.
    """

    similarity: np.ndarray
    index: np.ndarray


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a row of zeros stays one (it is similar to nothing)."""
    rows = np.asarray(features, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class JointSpace:
    """Several blocks of features in one space, where a cosine is the mean of the blocks' cosines.

    Each block's columns are standardised and its rows scaled to length 1, so that neither its width nor its scale
    counts; then the blocks are laid side by side.

    Attributes:
        centres: Mean of each block's columns.
        scales: Deviation of each block's columns, at least a tenth of their mean: a column that hardly varies shall
            not outweigh all others.
    """

    centres: tuple[np.ndarray, ...]
    scales: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, blocks: Sequence[np.ndarray]) -> "JointSpace":
        """The space of some blocks `[n, dim]`, whose rows are the same images."""
        deviations = [block.std(axis=0) for block in blocks]
        least = float(np.finfo(np.float32).tiny)
        scales = [np.maximum(column, max(0.1 * float(column.mean()), least)) for column in deviations]
        return cls(tuple(block.mean(axis=0) for block in blocks), tuple(scales))

    def standardised(self, blocks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Rows of the same blocks, of these or of other images, each column standardised: float32 `[n, dim]` each."""
        parts = zip(blocks, self.centres, self.scales, strict=True)
        return [((block - centre) / scale).astype(np.float32) for block, centre, scale in parts]

    def place(self, blocks: Sequence[np.ndarray]) -> np.ndarray:
        """The same rows in the space: float32 `[n, sum of dims]`."""
        return side_by_side(self.standardised(blocks))


def side_by_side(standardised: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks as one, each row of each block at the same length."""
    rows = [unit_rows(block) / np.float32(np.sqrt(len(standardised))) for block in standardised]
    return np.concatenate(rows, axis=1)


def nearest(
    queries: np.ndarray,
    base: np.ndarray,
    k: int,
    *,
    query_groups: np.ndarray | None = None,
    base_groups: np.ndarray | None = None,
    block: int = 2048,
    on_progress: Callable[[int], None] | None = None,
) -> Nearest:
    """The `k` rows of `base` with the largest cosine similarity to each query.

    Never more than `block x block` similarities are in memory; all of them are computed, so nothing is missed.

    Args:
        queries: `[n, dim]`.
        base: `[m, dim]`.
        k: Number of neighbours, at least 1.
        query_groups: int `[n]`, with `base_groups`: rows of the same group are not neighbours.
        base_groups: int `[m]`.
        block: Rows compared at a time.
        on_progress: Called with the number of queries done.

    Raises:
        NeighboursError: The two do not fit together.
    """
    if queries.ndim != 2 or base.ndim != 2 or queries.shape[1] != base.shape[1]:
        raise NeighboursError(f"Expected two tables of features of one width, got {queries.shape}, {base.shape}.")
    if k < 1:
        raise NeighboursError(f"Expected at least 1 neighbour to be asked for, got {k}.")
    if (query_groups is None) != (base_groups is None):
        raise NeighboursError("Expected the groups of queries and base, or neither, got those of one of the two.")
    base = unit_rows(base)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    index = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        groups = None if query_groups is None or base_groups is None else (query_groups[rows], base_groups)
        _keep_nearest(unit_rows(queries[rows]), base, groups, block, (similarity[rows], index[rows]))
        if on_progress:
            on_progress(min(start + block, len(queries)))
    index[np.isneginf(similarity)] = -1
    return Nearest(similarity, index)


def _keep_nearest(
    queries: np.ndarray,
    base: np.ndarray,
    groups: tuple[np.ndarray, np.ndarray] | None,
    block: int,
    best: tuple[np.ndarray, np.ndarray],
) -> None:
    """Replace similarities and places, in place, by better ones while the base passes by."""
    similarity, index = best
    k = similarity.shape[1]
    for start in range(0, len(base), block):
        cosines = queries @ base[start : start + block].T
        if groups is not None:
            cosines[groups[0][:, None] == groups[1][None, start : start + block]] = -np.inf
        row, column = _better(cosines, similarity)
        changed = np.unique(row)
        rows = np.concatenate([np.repeat(changed, k), row])
        both = np.concatenate([similarity[changed].ravel(), cosines[row, column]])
        places = np.concatenate([index[changed].ravel(), column + start])
        order = np.lexsort((places, -both, rows))
        first = np.searchsorted(rows[order], changed)
        kept = order[first[:, None] + np.arange(k)]
        similarity[changed], index[changed] = both[kept], places[kept]


def _better(cosines: np.ndarray, similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cosines that may replace a neighbour, the last of which is the least similar.

    After a few blocks hardly any does: so they are compared with the last neighbours, and sorted only at the beginning.
    """
    n, k = similarity.shape
    row, column = np.nonzero(cosines > similarity[:, -1:])
    if len(row) <= 4 * k * n:
        return row, column
    most = min(k, cosines.shape[1])
    columns = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
    return np.repeat(np.arange(n), most), columns.ravel()
