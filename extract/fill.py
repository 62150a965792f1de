"""Fill the cache: plan what is missing, and let Dask run it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.keys import FeatureKey
from hamcache.cache.lock import writing
from hamcache.cache.plan import ChunkTask, make_plan
from hamcache.cache.quarantine import BadImage, Quarantine
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.data.digests import MISSING
from hamcache.data.table import ImageTable
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import BackboneSpec, shared_backbone
from hamcache.extract.dispatch import run_plan
from hamcache.extract.errors import ExtractionFailedError
from hamcache.extract.worker import ExtractionJob, StoreSpec, TaskResult


@dataclass(frozen=True)
class Progress:
    """Progress of a run: images done and in all, feature vectors computed so far."""

    done: int
    total: int
    vectors: int


@dataclass(frozen=True)
class ExtractionSummary:
    """Outcome of a run.

    Attributes:
        n_images: images asked for.
        n_written, n_reused: feature vectors computed now, and found in the cache.
        n_decoded: images decoded.
        quarantined: images left out, with the reason; `n_new_bad` of them found bad in this run.
        seconds: wall time from the plan to the last chunk.
        stores: folder of each store, with the views asked of it.
    """

    n_images: int
    n_written: int
    n_reused: int
    n_decoded: int
    quarantined: tuple[BadImage, ...]
    n_new_bad: int
    seconds: float
    stores: tuple[tuple[str, int], ...]

    @property
    def images_per_second(self) -> float:
        """Images decoded a second (0 when nothing had to be done)."""
        return self.n_decoded / self.seconds if self.n_decoded else 0.0

    @property
    def vectors_per_second(self) -> float:
        """Feature vectors (an image through a network once) a second."""
        return self.n_written / self.seconds if self.n_written else 0.0

    def __str__(self) -> str:
        rates = ""
        if self.n_decoded:
            rates = f", {self.images_per_second:.1f} images/s, {self.vectors_per_second:.1f} vectors/s"
        return (
            f"{self.n_images:,} images, {len(self.stores)} stores: {self.n_written:,} vectors written, "
            f"{self.n_reused:,} reused, {self.n_decoded:,} images decoded, {len(self.quarantined):,} quarantined "
            f"({self.n_new_bad:,} new), {self.seconds:.1f} s{rates}"
        )


@dataclass(frozen=True, eq=False)
class ExtractionRequest:
    """Features that the cache is to hold: every view of every image for every backbone and augmentation.

    Attributes:
        table: the images.
        digests: sha256 of each image's file (`data.digests.file_digests`).
        backbones: the networks, and the kind of features of each; one named with several kinds runs once.
        augmentations: the augmentations.
        views: views of each; an augmentation with fewer distinct views gives all it has.
        seed: seed of the draws.
        device: `cpu` or `cuda`.
        source: name of the data set in the user's words, for the advice in later errors; None for the table's name.
    """

    table: ImageTable
    digests: Mapping[str, str]
    backbones: Sequence[tuple[BackboneSpec, str]]
    augmentations: Sequence[Augmentation]
    views: int = 1
    seed: int = 0
    device: str = "cpu"
    source: str | None = None


def run_extraction(
    request: ExtractionRequest,
    root: Root | str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> ExtractionSummary:
    """Make the cache hold what is requested; compute only what it lacks.

    Args:
        request: the features.
        root: features root.
        workers: threads of the local scheduler (default: one per core).
        scheduler: address of an existing Dask cluster instead.
        on_progress: called after each task.

    Raises:
        ExtractionFailedError: not one image could be used.
        CacheInUseError: another process is writing to this data set's stores.
        KeyboardInterrupt: passed on; the stores are valid and the next run goes on from there.
    """
    started = time.perf_counter()
    root = root if isinstance(root, Root) else Root(root)
    table, digests = request.table, request.digests
    with writing(root, table.name):
        quarantine = Quarantine(root, table.name)
        missing = [BadImage(i, MISSING, "file missing") for i, digest in digests.items() if digest == MISSING]
        known = quarantine.among(digests)
        new_missing = [bad for bad in missing if bad.image_id not in known]
        quarantine.add(*new_missing)
        usable = {i: digest for i, digest in digests.items() if digest != MISSING and i not in known}

        stores, job = _prepare(request, root, list(usable))
        plan = make_plan(stores, usable)
        table.require_images("Extracting", [task.image_ids[row] for task in plan.tasks for row in task.rows])
        results: list[TaskResult] = []
        if plan.tasks:
            from hamcache.extract.scheduler import dask_client

            done = 0

            def on_result(task: ChunkTask, result: TaskResult) -> None:
                nonlocal done
                quarantine.add(*result.bad)
                results.append(result)
                done += len(task.rows)
                if on_progress:
                    on_progress(Progress(done, plan.n_images, sum(r.n_vectors for r in results)))

            paths = dict(zip(table.frame["image_id"], table.frame["path"], strict=True))
            with dask_client(workers, scheduler) as client:
                run_plan(plan, job, paths, client, on_result)

        summary = ExtractionSummary(
            n_images=len(digests),
            n_written=sum(r.n_vectors for r in results),
            n_reused=plan.n_reused,
            n_decoded=sum(r.n_decoded for r in results),
            quarantined=tuple(quarantine.among(digests).values()),
            n_new_bad=len(new_missing) + sum(len(r.bad) for r in results),
            seconds=time.perf_counter() - started,
            stores=tuple((store.folder, n) for store, n in stores),
        )
    if len(summary.quarantined) == len(digests):
        reasons = sorted({bad.reason for bad in summary.quarantined})
        raise ExtractionFailedError(
            f"Expected readable images, got none. Not one of {len(digests)} images could be used: "
            f"{'; '.join(reasons[:3])}. Check the data set's folder."
        )
    return summary


def _prepare(
    request: ExtractionRequest, root: Root, image_ids: Sequence[str]
) -> tuple[list[tuple[FeatureStore, int]], ExtractionJob]:
    """Open or create a store for each backbone, augmentation and kind, with room for the images and views asked for."""
    table, catalogue = request.table, Catalogue(root)
    stores: list[tuple[FeatureStore, int]] = []
    specs: list[tuple[str, StoreSpec]] = []
    networks = list(dict.fromkeys(spec for spec, _ in request.backbones))
    for (spec, kind), (number, augmentation) in product(request.backbones, enumerate(request.augmentations)):
        backbone = shared_backbone(spec, request.device)
        key = FeatureKey(
            dataset=table.name,
            backbone=spec.name,
            weights=backbone.digest,
            preprocessing=backbone.preprocessing.to_dict(),
            augmentation=augmentation.to_dict(),
            seed=request.seed if augmentation.is_random else 0,
            precision=spec.precision,
            kind=kind,
        )
        store = catalogue.get(key)
        n_views = min(request.views, augmentation.distinct_views)
        if store is None or store.n_views < n_views or any(i not in store.row_of for i in image_ids):
            table.require_images(f"Extracting {key.features_name} ({augmentation.name})", image_ids)
        if store is None:
            layout = catalogue.layout(table.name, image_ids)
            dim = backbone.dims([kind])[kind]
            store = FeatureStore.create(root, key, dim, layout, _provenance(request.source or table.name))
        store.grow(image_ids, n_views)
        stores.append((store, n_views))
        specs.append((store.folder, StoreSpec(networks.index(spec), number, kind)))
    augmentations = tuple(request.augmentations)
    return stores, ExtractionJob(root.url, tuple(networks), augmentations, tuple(specs), request.seed, request.device)


def _provenance(source: str) -> dict[str, str]:
    """Circumstances of a store's creation that are not in its key."""
    libraries = {
        name: version(name) for name in ("hamcache", "torch", "torchvision", "timm", "zarr", "numpy", "pillow")
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"dataset": source, "created": created, "python": platform.python_version(), **libraries}
