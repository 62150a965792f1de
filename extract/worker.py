"""The work of one Dask task, chunk after chunk: decode each image once, draw views, run every backbone, write."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from hamcache.cache import outages
from hamcache.cache.costs import Cost
from hamcache.cache.plan import Cell, ChunkTask
from hamcache.cache.quarantine import BadImage
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.data.digests import MISSING
from hamcache.data.errors import BadImageError, UnreadImageError
from hamcache.data.image_files import image_bytes
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import Backbone, BackboneSpec, shared_backbone
from hamcache.extract.decode import decode_image
from hamcache.extract.draws import ViewDraw, draw_view
from hamcache.extract.errors import WorkerError
from hamcache.extract.forward import FittedViews, batch_size, fit_views, forward, use_one_thread


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
    """Outcome of one chunk.

    Attributes:
        n_vectors, n_decoded: feature vectors written, images decoded.
        bad: images that gave none.
        digests: sha256 of each file as it was read, `MISSING` where it gave no bytes.
        seconds: from the first image to the last vector; what came before it is written meanwhile.
        costs: what the vectors of each store took; decoding and drawing are divided as the networks' own work is.
    """

    n_vectors: int
    n_decoded: int
    bad: tuple[BadImage, ...]
    digests: Mapping[str, str]
    seconds: float
    costs: Mapping[str, Cost] = field(default_factory=dict)


stopping = outages.stopping
"""Set, it makes the tasks that run in this process's threads end at their next batch, unwritten."""


def run_tasks(job: ExtractionJob, tasks: Sequence[ChunkTask], paths: Mapping[str, str]) -> list[TaskResult]:
    """Entry point for Dask: `Worker(job).run(tasks, paths)`."""
    return Worker(job).run(tasks, paths)


@dataclass(frozen=True)
class _Pass:
    """One network run on one view of an augmentation: the draw of each row that needs it, the cells that this fills."""

    backbone: int
    draws: Mapping[int, ViewDraw]
    cells: tuple[Cell, ...]


@dataclass
class _Chunk:
    """A task while it runs: vectors of each cell, by row NaN until it is computed, and what became of each image."""

    task: ChunkTask
    features: dict[Cell, np.ndarray]
    digests: dict[int, str] = field(default_factory=dict)
    bad: dict[int, BadImage] = field(default_factory=dict)
    seconds: float = 0.0
    processor: float = 0.0
    forward: dict[str, float] = field(default_factory=dict)

    def costs(self, written: Mapping[str, int]) -> dict[str, Cost]:
        """The processor seconds of all vectors, divided among the stores."""
        whole = sum(self.forward.values()) or 1.0
        shares = {folder: seconds / whole for folder, seconds in self.forward.items()}
        return {folder: Cost(count, self.processor * shares.get(folder, 0.0)) for folder, count in written.items()}


class Worker:
    """Runs the tasks of a job; safe to use from several threads."""

    def __init__(self, job: ExtractionJob) -> None:
        self.job, self._root = job, Root(job.root)
        self._spec_of = dict(job.stores)
        self._backbones = [shared_backbone(spec, job.device) for spec in job.backbones]

    def run(self, tasks: Sequence[ChunkTask], paths: Mapping[str, str]) -> list[TaskResult]:
        """Fill the chunks of some tasks, one task after the other.

        Args:
            tasks: from the plan.
            paths: file of each image the tasks need.
        """
        use_one_thread()
        folders = {cell.folder for task in tasks for cell in task.cells}
        stores = {folder: FeatureStore.open(self._root, folder) for folder in folders}
        for folder, store in stores.items():
            self._require_same(self._backbones[self._spec_of[folder].backbone], store)
        with ThreadPoolExecutor(1) as writer:  # neither a disk nor a server is waited for while there is work
            written = [writer.submit(self._write, self._computed(task, stores, paths), stores) for task in tasks]
        return [result.result() for result in written]

    def _require_same(self, backbone: Backbone, store: FeatureStore) -> None:
        """Refuse to fill a store with a network that is another one on this worker's machine."""
        if (backbone.digest, backbone.code) != (store.key.weights, store.key.code):
            what = "weights" if backbone.digest != store.key.weights else "code"
            raise WorkerError(
                f"Expected {backbone.spec.name} with the {what} that the features of {store.folder} are named by, got "
                "others on a worker. Bring the same files there."
            )

    def _computed(self, task: ChunkTask, stores: Mapping[str, FeatureStore], paths: Mapping[str, str]) -> _Chunk:
        started, processor = time.perf_counter(), time.thread_time()
        n_rows = len(task.image_ids)
        chunk = _Chunk(task, {c: np.full((n_rows, stores[c.folder].dim), np.nan, np.float32) for c in task.cells})
        passes, batch = self._passes(task), batch_size(self.job.device)
        for first in range(0, n_rows, batch):
            if stopping.is_set():
                raise InterruptedError("The extraction was interrupted.")
            fitted: dict[int, list[FittedViews]] = {}
            for row in (row for row in task.rows if first <= row < first + batch):
                image_id = task.image_ids[row]
                try:
                    data = image_bytes(paths[image_id])
                    chunk.digests[row] = hashlib.sha256(data).hexdigest()
                    fitted[row] = self._fitted(decode_image(data), [p for p in passes if row in p.draws], row)
                except UnreadImageError as error:
                    chunk.digests[row] = MISSING
                    chunk.bad[row] = BadImage(image_id, MISSING, str(error))
                except BadImageError as error:
                    chunk.bad[row] = BadImage(image_id, chunk.digests[row], str(error))
            for cell, rows, vectors in self._forward(passes, fitted, first, chunk.forward):
                chunk.features[cell][rows] = vectors
                for row in np.compress(~np.isfinite(vectors).all(axis=1), rows).tolist():
                    name = self.job.backbones[self._spec_of[cell.folder].backbone].name
                    reason = f"{name} gives features that are not finite"
                    chunk.bad[row] = BadImage(task.image_ids[row], chunk.digests[row], reason)
        chunk.seconds, chunk.processor = time.perf_counter() - started, time.thread_time() - processor
        return chunk

    def _write(self, chunk: _Chunk, stores: Mapping[str, FeatureStore]) -> TaskResult:
        task, written, processor = chunk.task, Counter[str](), time.thread_time()
        for cell in task.cells:
            rows = [row for row in cell.rows if row not in chunk.bad]
            if rows:
                file_digests = [chunk.digests[row] for row in rows]
                place = stores[cell.folder].place(cell.chunk, cell.view, task.image_ids)
                stores[cell.folder].write_chunk(place, rows, chunk.features[cell][rows], file_digests)
                written[cell.folder] += len(rows)
        chunk.processor += time.thread_time() - processor
        n_decoded = sum(row not in chunk.bad for row in chunk.digests)
        digests = {task.image_ids[row]: digest for row, digest in chunk.digests.items()}
        costs = chunk.costs(written)
        return TaskResult(written.total(), n_decoded, tuple(chunk.bad.values()), digests, chunk.seconds, costs)

    def _passes(self, task: ChunkTask) -> list[_Pass]:
        cells_of: dict[tuple[int, int, int], list[Cell]] = {}
        for cell in task.cells:
            spec = self._spec_of[cell.folder]
            cells_of.setdefault((spec.augmentation, cell.view, spec.backbone), []).append(cell)
        return [
            _Pass(backbone, self._draws(task, self.job.augmentations[augmentation], view, cells), tuple(cells))
            for (augmentation, view, backbone), cells in cells_of.items()
        ]

    def _draws(
        self, task: ChunkTask, augmentation: Augmentation, view: int, cells: Sequence[Cell]
    ) -> dict[int, ViewDraw]:
        rows = sorted({row for cell in cells for row in cell.rows})
        return {row: draw_view(augmentation, self.job.seed, task.image_ids[row], view) for row in rows}

    def _fitted(self, image: torch.Tensor, passes: Sequence[_Pass], row: int) -> list[FittedViews]:
        """The views of one image that the networks of these passes need, one entry a network of the job."""
        draws: list[list[ViewDraw]] = [[] for _ in self._backbones]
        for step in passes:
            draws[step.backbone].append(step.draws[row])
        return fit_views(image, draws, self._backbones)

    def _forward(
        self,
        passes: Sequence[_Pass],
        fitted: Mapping[int, Sequence[FittedViews]],
        first: int,
        spent: dict[str, float],
    ) -> Iterator[tuple[Cell, list[int], np.ndarray]]:
        """Yield `(cell, rows, features)` of one batch for every cell; a row's place in the chunk is its place in the
        batch. `spent` takes the processor seconds of the networks, by store."""
        done: dict[tuple[int, tuple[tuple[int, ViewDraw], ...], tuple[str, ...]], dict[str, np.ndarray]] = {}
        for step in passes:
            draws = tuple((row, draw) for row, draw in step.draws.items() if row in fitted)
            kinds = tuple(sorted({self._spec_of[cell.folder].kind for cell in step.cells}))
            # The plain image is a view of several augmentations; it goes through a network once.
            same = (step.backbone, draws, kinds)
            if draws and same not in done:
                views = {row - first: fitted[row][step.backbone][draw] for row, draw in draws}
                began = time.thread_time()
                done[same] = forward(self._backbones[step.backbone], views, kinds, self.job.device)
                for cell in step.cells:
                    seconds = (time.thread_time() - began) / len(step.cells)
                    spent[cell.folder] = spent.get(cell.folder, 0.0) + seconds
            place_of = {row: place for place, (row, _) in enumerate(draws)}
            for cell in step.cells:
                wanted = [row for row in cell.rows if row in fitted]
                if wanted:
                    vectors = done[same][self._spec_of[cell.folder].kind]
                    yield cell, wanted, vectors[[place_of[row] for row in wanted]]
