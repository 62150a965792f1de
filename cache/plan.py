"""The plan is a difference: what was asked for minus what is present, intact and made from the same bytes.

First run, resume after a kill, more views, more images, a changed image, repair of a damaged chunk: all are this one
plan, and the plan after a finished run is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamcache.cache.store import FeatureStore


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
    """Tasks that may run in any order, anywhere, at the same time."""

    tasks: tuple[ChunkTask, ...]
    n_asked: int

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
    """Plan the work that fills `stores`.

    Args:
        stores: each store with the number of views asked of it; rows and views must have been made room for (`grow`).
        digests: hex sha256 of the file of each image asked for.

    Returns:
        One task a chunk of images. Stores whose chunks hold the same images share a task, so an image is decoded once.
    """
    cells: dict[tuple[str, ...], list[Cell]] = {}
    for store, views in stores:
        for chunk in range(store.n_chunks):
            image_ids = tuple(store.chunk_ids(chunk))
            wanted = [digests.get(image_id) for image_id in image_ids]
            if not any(wanted):
                continue
            for view in range(views):
                have = store.chunk_digests(chunk, view)
                rows = tuple(row for row, digest in enumerate(wanted) if digest and have[row] != digest)
                if rows:
                    cells.setdefault(image_ids, []).append(Cell(store.folder, chunk, view, rows))
    tasks = tuple(ChunkTask(image_ids, tuple(of_chunk)) for image_ids, of_chunk in cells.items())
    return Plan(tasks, n_asked=len(digests) * sum(views for _, views in stores))
