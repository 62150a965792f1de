"""The work of one Dask task: take a chunk of images, decode each once, draw views, run every backbone, write."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from hamcache.cache.plan import Cell, ChunkTask
from hamcache.cache.quarantine import BadImage
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import Backbone, BackboneSpec, load_backbone
from hamcache.extract.decode import decode_image
from hamcache.extract.draws import ViewDraw, apply_view, draw_view
from hamcache.extract.errors import BadImageError

BATCH = 16
"""Images in one forward pass, always: an image's place in its chunk is its place in the batch, and empty places are
filled with zeros, so that what is stored never depends on which other images were computed with it."""


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
    """What became of one task."""

    n_vectors: int
    n_decoded: int
    bad: tuple[BadImage, ...]
    seconds: float


_loading = threading.Lock()
stopping = threading.Event()
"""Set, it makes the tasks that run in this process's threads end at their next batch, unwritten."""


@lru_cache(maxsize=16)
def _load(spec: BackboneSpec, device: str) -> Backbone:
    return load_backbone(spec, device)


def shared_backbone(spec: BackboneSpec, device: str = "cpu") -> Backbone:
    """A backbone of this process: loaded once, used by all its threads."""
    with _loading:
        return _load(spec, device)


def run_task(job: ExtractionJob, task: ChunkTask, paths: Mapping[str, str]) -> TaskResult:
    """What Dask calls: `Worker(job).run(task, paths)`."""
    return Worker(job).run(task, paths)


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
        torch.set_num_threads(
            1
        )  # one task a core; and the sums of a product must not depend on how many cores there are
        stores = {cell.folder: FeatureStore.open(self._root, cell.folder) for cell in task.cells}
        features = {
            (cell.folder, cell.view): np.full((len(task.image_ids), stores[cell.folder].dim), np.nan, np.float32)
            for cell in task.cells
        }
        digests: dict[int, str] = {}
        bad: dict[int, BadImage] = {}
        for first in range(0, len(task.image_ids), BATCH):
            if stopping.is_set():
                raise InterruptedError("the extraction was interrupted")
            images: dict[int, torch.Tensor] = {}
            for row in (row for row in task.rows if first <= row < first + BATCH):
                image_id = task.image_ids[row]
                data = _read(paths[image_id])
                digests[row] = hashlib.sha256(data).hexdigest() if data is not None else "missing"
                try:
                    if data is None:
                        raise BadImageError("file missing")
                    images[row] = decode_image(data)
                except BadImageError as error:
                    bad[row] = BadImage(image_id, digests[row], str(error))
            for cell_key, rows, vectors in self._forward(task, images, first):
                features[cell_key][rows] = vectors
                for row, vector in zip(rows, vectors, strict=True):
                    if not np.isfinite(vector).all():
                        name = self.job.backbones[self._spec_of[cell_key[0]].backbone].name
                        reason = f"{name} gives features that are not finite"
                        bad[row] = BadImage(task.image_ids[row], digests[row], reason)
        written = 0
        for cell in task.cells:
            rows = [row for row in cell.rows if row not in bad]
            if rows:
                vectors = features[cell.folder, cell.view][rows]
                stores[cell.folder].write_chunk(cell.chunk, cell.view, rows, vectors, [digests[row] for row in rows])
                written += len(rows)
        n_decoded = len(digests) - sum(row in bad for row in digests)
        return TaskResult(written, n_decoded, tuple(bad.values()), time.perf_counter() - started)

    def _forward(
        self, task: ChunkTask, images: Mapping[int, torch.Tensor], first: int
    ) -> Iterator[tuple[tuple[str, int], list[int], np.ndarray]]:
        """Yield `((folder, view), rows, features)` of one batch for every cell of the task."""
        cells_of: dict[tuple[int, int, int], list[Cell]] = {}
        for cell in task.cells:
            spec = self._spec_of[cell.folder]
            cells_of.setdefault((spec.augmentation, cell.view, spec.backbone), []).append(cell)
        seen: dict[tuple[int, ViewDraw], torch.Tensor] = {}
        done: dict[tuple[int, tuple[tuple[int, ViewDraw], ...], tuple[str, ...]], dict[str, np.ndarray]] = {}
        for (augmentation, view, backbone), cells in cells_of.items():
            rows = sorted({row for cell in cells for row in cell.rows if row in images})
            draws = tuple(
                (row, draw_view(self.job.augmentations[augmentation], self.job.seed, task.image_ids[row], view))
                for row in rows
            )
            for row, draw in draws:
                if (row, draw) not in seen:
                    seen[row, draw] = apply_view(images[row], draw)
            kinds = tuple(sorted({self._spec_of[cell.folder].kind for cell in cells}))
            # The plain image is a view of several augmentations; it goes through a network once.
            same = (backbone, draws, kinds)
            if rows and same not in done:
                done[same] = self._features(backbone, {row - first: seen[row, draw] for row, draw in draws}, kinds)
            for cell in cells:
                wanted = [row for row in cell.rows if row in images]
                if wanted:
                    vectors = done[same][self._spec_of[cell.folder].kind]
                    yield (cell.folder, cell.view), wanted, vectors[[rows.index(row) for row in wanted]]

    def _features(
        self, backbone: int, views: Mapping[int, torch.Tensor], kinds: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Features float32 `[len(views), dim]` of each kind, of views by place in the batch."""
        network = self._backbones[backbone]
        batch = torch.zeros((BATCH, 3, *network.preprocessing.size), dtype=torch.uint8)
        for place, image in views.items():
            batch[place] = network.preprocessing.resize(image)
        features = network.features(batch.to(self.job.device), kinds)
        return {kind: vectors[list(views)].cpu().numpy() for kind, vectors in features.items()}


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None
