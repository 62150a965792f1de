"""The work of one Dask task: take a chunk of images, decode each once, draw views, run every backbone, write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from hamcache.cache import outages
from hamcache.cache.plan import Cell, ChunkTask
from hamcache.cache.quarantine import BadImage
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.data.digests import MISSING
from hamcache.data.errors import BadImageError, UnreadImageError
from hamcache.data.image_files import image_bytes
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import BackboneSpec, shared_backbone
from hamcache.extract.decode import decode_image
from hamcache.extract.draws import ViewDraw, draw_view
from hamcache.extract.forward import BATCH, FittedViews, fit_views, forward, use_one_thread


@dataclass(frozen=True)
class StoreSpec:
    """Content of one store: backbone and augmentation (positions in the job's lists), and kind of features."""

    backbone: int
    augmentation: int
    kind: str


@dataclass(frozen=True)
class ExtractionJob:
    """All that a worker needs beside its tasks; plain data.

    Attributes:
        root: URL of the features root.
        backbones, augmentations: what to run and what to draw.
        stores: for each store's folder, which of them.
        seed: seed of the draws.
        device: `cpu` or `cuda`.
    """

    root: str
    backbones: tuple[BackboneSpec, ...]
    augmentations: tuple[Augmentation, ...]
    stores: tuple[tuple[str, StoreSpec], ...]
    seed: int
    device: str = "cpu"


@dataclass(frozen=True)
class TaskResult:
    """Outcome of one task.

    Attributes:
        n_vectors, n_decoded: feature vectors written, images decoded.
        bad: images that gave none.
        digests: sha256 of each file as it was read, `MISSING` where it gave no bytes.
        seconds: of work.
    """

    n_vectors: int
    n_decoded: int
    bad: tuple[BadImage, ...]
    digests: Mapping[str, str]
    seconds: float


stopping = outages.stopping
"""Set, it makes the tasks that run in this process's threads end at their next batch, unwritten."""


def run_task(job: ExtractionJob, task: ChunkTask, paths: Mapping[str, str]) -> TaskResult:
    """Entry point for Dask: `Worker(job).run(task, paths)`."""
    return Worker(job).run(task, paths)


@dataclass(frozen=True)
class _Pass:
    """One network run on one view of an augmentation, and the cells of a task that this fills."""

    augmentation: int
    view: int
    backbone: int
    cells: tuple[Cell, ...]

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of the images that the cells need."""
        return tuple(sorted({row for cell in self.cells for row in cell.rows}))


class Worker:
    """Runs the tasks of a job; safe to use from several threads."""

    def __init__(self, job: ExtractionJob) -> None:
        self.job, self._root = job, Root(job.root)
        self._spec_of = dict(job.stores)
        self._backbones = [shared_backbone(spec, job.device) for spec in job.backbones]

    def run(self, task: ChunkTask, paths: Mapping[str, str]) -> TaskResult:
        """Fill a task's chunks.

        Args:
            task: from the plan.
            paths: file of each image the task needs.
        """
        started = time.perf_counter()
        use_one_thread()
        stores = {cell.folder: FeatureStore.open(self._root, cell.folder) for cell in task.cells}
        features = {
            cell: np.full((len(task.image_ids), stores[cell.folder].dim), np.nan, np.float32) for cell in task.cells
        }
        digests: dict[int, str] = {}
        bad: dict[int, BadImage] = {}
        passes = self._passes(task)
        for first in range(0, len(task.image_ids), BATCH):
            if stopping.is_set():
                raise InterruptedError("The extraction was interrupted.")
            fitted: dict[int, list[FittedViews]] = {}
            for row in (row for row in task.rows if first <= row < first + BATCH):
                image_id = task.image_ids[row]
                try:
                    data = image_bytes(paths[image_id])
                    digests[row] = hashlib.sha256(data).hexdigest()
                    fitted[row] = self._fitted(decode_image(data), image_id, [p for p in passes if row in p.rows])
                except UnreadImageError as error:
                    digests[row] = MISSING
                    bad[row] = BadImage(image_id, MISSING, str(error))
                except BadImageError as error:
                    bad[row] = BadImage(image_id, digests[row], str(error))
            for cell, rows, vectors in self._forward(task, passes, fitted, first):
                features[cell][rows] = vectors
                for row, vector in zip(rows, vectors, strict=True):
                    if not np.isfinite(vector).all():
                        name = self.job.backbones[self._spec_of[cell.folder].backbone].name
                        reason = f"{name} gives features that are not finite"
                        bad[row] = BadImage(task.image_ids[row], digests[row], reason)
        written = 0
        for cell in task.cells:
            rows = [row for row in cell.rows if row not in bad]
            if rows:
                file_digests = [digests[row] for row in rows]
                place = stores[cell.folder].place(cell.chunk, cell.view, task.image_ids)
                stores[cell.folder].write_chunk(place, rows, features[cell][rows], file_digests)
                written += len(rows)
        n_decoded = len(digests) - sum(row in bad for row in digests)
        found = {task.image_ids[row]: digest for row, digest in digests.items()}
        return TaskResult(written, n_decoded, tuple(bad.values()), found, time.perf_counter() - started)

    def _passes(self, task: ChunkTask) -> list[_Pass]:
        cells_of: dict[tuple[int, int, int], list[Cell]] = {}
        for cell in task.cells:
            spec = self._spec_of[cell.folder]
            cells_of.setdefault((spec.augmentation, cell.view, spec.backbone), []).append(cell)
        return [_Pass(*names, tuple(cells)) for names, cells in cells_of.items()]

    def _draw(self, step: _Pass, image_id: str) -> ViewDraw:
        return draw_view(self.job.augmentations[step.augmentation], self.job.seed, image_id, step.view)

    def _fitted(self, image: torch.Tensor, image_id: str, passes: Sequence[_Pass]) -> list[FittedViews]:
        """The views of one image that the networks of these passes need, one entry a network of the job."""
        draws: list[list[ViewDraw]] = [[] for _ in self._backbones]
        for step in passes:
            draws[step.backbone].append(self._draw(step, image_id))
        return fit_views(image, draws, self._backbones)

    def _forward(
        self, task: ChunkTask, passes: Sequence[_Pass], fitted: Mapping[int, Sequence[FittedViews]], first: int
    ) -> Iterator[tuple[Cell, list[int], np.ndarray]]:
        """Yield `(cell, rows, features)` of one batch for every cell; a row's place in the chunk is its place in the
        batch."""
        done: dict[tuple[int, tuple[tuple[int, ViewDraw], ...], tuple[str, ...]], dict[str, np.ndarray]] = {}
        for step in passes:
            draws = tuple((row, self._draw(step, task.image_ids[row])) for row in step.rows if row in fitted)
            kinds = tuple(sorted({self._spec_of[cell.folder].kind for cell in step.cells}))
            # The plain image is a view of several augmentations; it goes through a network once.
            same = (step.backbone, draws, kinds)
            if draws and same not in done:
                views = {row - first: fitted[row][step.backbone][draw] for row, draw in draws}
                done[same] = forward(self._backbones[step.backbone], views, kinds, self.job.device)
            place_of = {row: place for place, (row, _) in enumerate(draws)}
            for cell in step.cells:
                wanted = [row for row in cell.rows if row in fitted]
                if wanted:
                    vectors = done[same][self._spec_of[cell.folder].kind]
                    yield cell, wanted, vectors[[place_of[row] for row in wanted]]
