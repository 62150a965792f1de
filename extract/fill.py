"""Fill the cache: look at what is here, plan what is missing, and let Dask run it."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.costs import Cost, add_costs
from hamcache.cache.description import CHUNK_ROWS, rows_for
from hamcache.cache.errors import CorruptStoreError
from hamcache.cache.keys import FeatureKey
from hamcache.cache.lock import writing
from hamcache.cache.plan import ChunkTask, Plan, make_plan
from hamcache.cache.quarantine import BadImage, Quarantine
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.data.digests import MISSING
from hamcache.data.image_files import why_unread
from hamcache.extract.backbones import shared_backbone
from hamcache.extract.dispatch import run_plan
from hamcache.extract.errors import ExtractionFailedError, NoRoomError
from hamcache.extract.request import ExtractionRequest, ExtractionSummary, Progress
from hamcache.extract.versions import LIBRARIES
from hamcache.extract.worker import ExtractionJob, StoreSpec, TaskResult

if TYPE_CHECKING:
    from distributed import Client

OnProgress = Callable[[Progress], None]

ROUNDS = 3
"""Times that the plan is made and run, until nothing lacks: files may change, and another writer may be at work."""

PACKED = 0.1
"""Share of its plain size that a feature store takes at the very least; for the check that the disk has room."""


def run_extraction(
    request: ExtractionRequest,
    root: Root | str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    on_progress: OnProgress | None = None,
) -> ExtractionSummary:
    """Make the cache hold what is requested; compute only what it lacks. Where it lacks nothing, nothing is written.

    Args:
        request: the features.
        root: features root.
        workers: cores of this machine to use (default: all); see `extract.scheduler.dask_client`.
        scheduler: address of an existing Dask cluster instead.
        on_progress: called after each task.

    Raises:
        ExtractionFailedError: not one image could be used.
        CacheInUseError: another process is writing to this data set's stores.
        NoRoomError: the disk can't hold what is asked for.
        KeyboardInterrupt: passed on; the stores are valid and the next run goes on from there.
    """
    started = time.perf_counter()
    filling = _Filling(request, root if isinstance(root, Root) else Root(root))
    if not filling.is_done():
        from hamcache.extract.scheduler import dask_client

        with writing(filling.root, request.table.name):
            try:
                filling.fill(lambda: dask_client(workers, scheduler, request.device), on_progress)
            finally:
                add_costs(filling.root, request.table.name, filling.costs)
    summary = filling.summary(time.perf_counter() - started)
    if len(summary.quarantined) == summary.n_images:
        reasons = sorted({bad.reason for bad in summary.quarantined})
        raise ExtractionFailedError(
            f"Expected readable images, got none. Not one of {summary.n_images} images could be used: "
            f"{'; '.join(reasons[:3])}. Check the data set's folder."
        )
    return summary


@dataclass(frozen=True)
class _Wanted:
    """A store that a request names, and what fills it."""

    key: FeatureKey
    dim: int
    views: int
    spec: StoreSpec


class _Filling:
    """One extraction: the request, the cache as it was found, and what was done."""

    def __init__(self, request: ExtractionRequest, root: Root) -> None:
        self.request, self.root = request, root
        self.networks = tuple(dict.fromkeys(spec for spec, _ in request.backbones))
        self.wanted = self._wanted()
        self.digests = dict(request.digests)
        self.paths = dict(zip(request.table.frame["image_id"], request.table.frame["path"], strict=True))
        self.quarantine = Quarantine(root, request.table.name)
        self.n_new_bad = self.n_written = self.n_decoded = self.n_reused = 0
        self.changed: dict[str, str] = {}
        self.costs: dict[str, Cost] = {}

    def is_done(self) -> bool:
        """True if the cache holds all that is requested. Takes no lock and changes nothing."""
        if self._newly_missing():
            return False
        usable, stores = self._usable(), []
        for wanted in self.wanted:
            store = self._opened(wanted)
            if store is None or any(image_id not in store.row_of for image_id in usable):
                return False
            stores.append((store, wanted.views))
        plan = make_plan(stores, usable)
        self.n_reused = plan.n_reused
        return not plan.tasks and plan.is_described

    def fill(self, client_of: Callable[[], AbstractContextManager[Client]], on_progress: OnProgress | None) -> None:
        """Fill the stores, and look again until nothing lacks; the data set's lock is held meanwhile."""
        self.quarantine = Quarantine(self.root, self.request.table.name)
        missing = self._newly_missing()
        self.n_new_bad += len(missing)
        self._refuse_without_room()
        self.quarantine.add(*missing)
        stores = {wanted.key.folder: self._prepared(wanted) for wanted in self.wanted}
        asked = [(stores[wanted.key.folder], wanted.views) for wanted in self.wanted]
        for turn in range(ROUNDS):
            if turn:
                for store in stores.values():
                    store.refresh()
            plan = make_plan(asked, self._usable())
            self.n_reused = self.n_reused if turn else plan.n_reused
            if not plan.tasks:
                break
            self._run(plan, stores, client_of, on_progress)
        for store in stores.values():
            store.describe()

    def summary(self, seconds: float) -> ExtractionSummary:
        """The outcome so far."""
        return ExtractionSummary(
            n_images=len(self.digests),
            n_written=self.n_written,
            n_reused=self.n_reused,
            n_decoded=self.n_decoded,
            quarantined=tuple(self.quarantine.among(self.digests).values()),
            n_new_bad=self.n_new_bad,
            seconds=seconds,
            stores=tuple((wanted.key.folder, wanted.views) for wanted in self.wanted),
            changed=self.changed,
        )

    def _wanted(self) -> list[_Wanted]:
        request, wanted = self.request, []
        for (spec, kind), (number, augmentation) in product(request.backbones, enumerate(request.augmentations)):
            backbone = shared_backbone(spec, request.device)
            key = FeatureKey(
                dataset=request.table.name,
                backbone=spec.name,
                weights=backbone.digest,
                preprocessing=backbone.preprocessing.to_dict(),
                augmentation=augmentation.to_dict(),
                seed=request.seed if augmentation.is_random else 0,
                precision=spec.precision,
                kind=kind,
                code=backbone.code,
                storage=request.storage,
            )
            views = min(request.views, augmentation.distinct_views)
            store_spec = StoreSpec(self.networks.index(spec), number, kind)
            wanted.append(_Wanted(key, backbone.dims([kind])[kind], views, store_spec))
        return wanted

    def _newly_missing(self) -> list[BadImage]:
        known = self.quarantine.among(self.digests)
        gone = (image_id for image_id, digest in self.digests.items() if digest == MISSING)
        missing = [BadImage(image_id, MISSING, why_unread(self.paths[image_id])) for image_id in gone]
        return [bad for bad in missing if bad != known.get(bad.image_id)]

    def _usable(self) -> dict[str, str]:
        """Digest of every image that is neither missing nor quarantined."""
        bad = self.quarantine.among(self.digests)
        return {i: digest for i, digest in self.digests.items() if digest != MISSING and i not in bad}

    def _opened(self, wanted: _Wanted) -> FeatureStore | None:
        """The store as it is, None where it is not there or needs mending."""
        try:
            store = Catalogue(self.root).get(wanted.key)
            return store if store and store.dim == wanted.dim and store.image_ids is not None else None
        except CorruptStoreError:
            return None

    def _prepared(self, wanted: _Wanted) -> FeatureStore:
        """The store, made or mended, with a row for every image."""
        table, usable, store = self.request.table, list(self._usable()), self._opened(wanted)
        if store is None or any(image_id not in store.row_of for image_id in usable):
            table.require_images(f"Extracting {wanted.key.features_name} ({wanted.key.augmentation_name})", usable)
        layout, chunk_rows = ([], CHUNK_ROWS) if store else Catalogue(self.root).layout(table.name, usable)
        if self.request.chunk_mib is not None:  # the same rows for all, so that an image is decoded once
            widest = max(other.dim for other in self.wanted) * np.dtype(self.request.storage).itemsize
            most = -(-max(len(usable), 1) // CHUNK_ROWS) * CHUNK_ROWS  # rows nobody needs would take room in labels
            chunk_rows = min(rows_for(self.request.chunk_mib * 2**20, widest), most)
        provenance = _provenance(self.request.source or table.name)
        image_ids = [*layout, *sorted(usable)]
        return FeatureStore.prepare(self.root, wanted.key, wanted.dim, image_ids, provenance, chunk_rows)

    def _refuse_without_room(self) -> None:
        if not self.root.is_local:
            return
        held = sum(sum(self.root.files(wanted.key.folder).values()) for wanted in self.wanted)
        needed = PACKED * sum(len(self.digests) * wanted.views * wanted.dim * 4 for wanted in self.wanted) - held
        place = next(folder for folder in [Path(self.root.path), *Path(self.root.path).parents] if folder.exists())
        free = shutil.disk_usage(place).free
        if needed > free:
            raise NoRoomError(
                f"Expected room for at least {needed / 1e9:,.0f} GB of features in {self.root.url}, got "
                f"{free / 1e9:,.1f} GB. Ask for fewer views or images, or give another workspace."
            )

    def _run(
        self,
        plan: Plan,
        stores: Mapping[str, FeatureStore],
        client_of: Callable[[], AbstractContextManager[Client]],
        on_progress: OnProgress | None,
    ) -> None:
        table, request, done = self.request.table, self.request, 0
        table.require_images("Extracting", [task.image_ids[row] for task in plan.tasks for row in task.rows])

        def on_result(task: ChunkTask, result: TaskResult) -> None:
            nonlocal done
            self.quarantine.add(*result.bad)
            self.n_new_bad += len(result.bad)
            self.n_written += result.n_vectors
            self.n_decoded += result.n_decoded
            for folder, cost in result.costs.items():
                self.costs[folder] = self.costs.get(folder, Cost(0, 0.0)) + cost
            changed = {i: digest for i, digest in result.digests.items() if digest != self.digests[i]}
            self.changed |= changed
            self.digests |= changed
            for cell in task.cells:
                store = stores[cell.folder]
                store.set_views(max(store.n_views, cell.view + 1))
            done += len(task.rows)
            if on_progress:
                on_progress(Progress(done, plan.n_images, self.n_written))

        specs = tuple((wanted.key.folder, wanted.spec) for wanted in self.wanted)
        augmentations = tuple(request.augmentations)
        job = ExtractionJob(self.root.url, self.networks, augmentations, specs, request.seed, request.device)
        with client_of() as client:
            run_plan(plan, job, self.paths, client, on_result)


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("hamcache", "zarr", *LIBRARIES)}


def _provenance(source: str) -> dict[str, str]:
    """Circumstances of a store's creation that are not in its key."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"dataset": source, "created": created, "python": platform.python_version(), **_libraries()}
