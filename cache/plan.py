"""The plan is a difference: what was asked for minus what is present, intact and made from the same bytes.

First run, resume after a kill, more views, more images, a changed image, repair of a damaged chunk: all are this one
plan, and the plan after a finished run is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.cache.chunk import DIGEST_BYTES
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey


@dataclass(frozen=True)
class Cell:
    """Vectors that one chunk lacks: rows (within the chunk) of one view of one store."""

    folder: str
    chunk: int
    view: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class ChunkTask:
    """All work on one chunk of images, over every store: an image is decoded once, no other task writes its chunks.

    Attributes:
        image_ids: the chunk's images by row, needed or not (an image's place in the chunk is its place in the batch).
        cells: the chunks to fill.
    """

    image_ids: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> list[int]:
        """Rows of the images to decode."""
        return sorted({row for cell in self.cells for row in cell.rows})

    @property
    def n_vectors(self) -> int:
        """Feature vectors to compute."""
        return sum(len(cell.rows) for cell in self.cells)


@dataclass(frozen=True)
class Plan:
    """Tasks that may run in any order, anywhere, at the same time.

    Attributes:
        tasks: the work.
        n_asked: vectors asked for.
        is_described: whether every store's description claims the rows and views that there are.
    """

    tasks: tuple[ChunkTask, ...]
    n_asked: int
    is_described: bool = True

    @property
    def n_vectors(self) -> int:
        """Feature vectors to compute."""
        return sum(task.n_vectors for task in self.tasks)

    @property
    def n_images(self) -> int:
        """Images to decode."""
        return sum(len(task.rows) for task in self.tasks)

    @property
    def n_reused(self) -> int:
        """Vectors asked for that the cache already holds."""
        return self.n_asked - self.n_vectors


def make_plan(stores: Sequence[tuple[FeatureStore, int]], digests: Mapping[str, str]) -> Plan:
    """Plan the work that fills `stores`; nothing of it is changed.

    Args:
        stores: each store with the number of views asked of it. Images without a row in one are not planned for it.
        digests: hex sha256 of the file of each image asked for.

    Returns:
        One task a chunk of images. Stores whose chunks hold the same images share a task, so an image is decoded once.
    """
    cells: dict[tuple[str, ...], list[Cell]] = {}
    is_described = True
    for store, views in stores:
        wanted = _wanted(store, digests)
        asked = np.asarray(wanted.any(axis=1))
        rows_of = [slice(c * store.chunk_rows, (c + 1) * store.chunk_rows) for c in range(store.n_chunks)]
        chunks = [chunk for chunk, rows in enumerate(rows_of) if asked[rows].any()]
        with Survey(store) as survey:
            is_described &= survey.is_described
            places = [(c, v) for c in chunks for v in range(views) if not survey.holds(c, v, wanted[rows_of[c]])]
            for (chunk, view), have in zip(places, survey.all_digests(places), strict=True):
                lacking = asked[rows_of[chunk]]
                if have is not None:
                    lacking = lacking & (have != wanted[rows_of[chunk]]).any(axis=1)
                if lacking.any():
                    cell = Cell(store.folder, chunk, view, tuple(map(int, np.flatnonzero(lacking))))
                    cells.setdefault(tuple(store.chunk_ids(chunk)), []).append(cell)
    tasks = tuple(ChunkTask(image_ids, tuple(of_chunk)) for image_ids, of_chunk in cells.items())
    return Plan(tasks, len(digests) * sum(views for _, views in stores), is_described)


def _wanted(store: FeatureStore, digests: Mapping[str, str]) -> np.ndarray:
    """File digest uint8 `[n, 32]` that the vector of each row is to be made from, zeros for a row not asked for."""
    absent = "00" * DIGEST_BYTES
    if store.image_ids == list(digests):  # as it is when all is done: a million look-ups less
        of_rows = list(digests.values())
    else:
        of_rows = [digests.get(image_id, absent) for image_id in store.image_ids]
    return np.frombuffer(bytes.fromhex("".join(of_rows)), np.uint8).reshape(-1, DIGEST_BYTES)
