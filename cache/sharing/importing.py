"""Put the stores of an archive into a features root: checked first, then each placed in one step, or merged."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np

from hamcache.cache.catalogue import IMPORTING, Catalogue
from hamcache.cache.chunk import DamagedChunkError, chunk_name, decode
from hamcache.cache.errors import FeatureArchiveError, StoreConflictError
from hamcache.cache.lock import writing
from hamcache.cache.sharing.archive import Archive, OnProgress, StoreEntry
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey


@dataclass(frozen=True)
class ImportedStore:
    """Outcome for one store.

    Attributes:
        folder: its place below the features root.
        is_new: True if there was none of its key.
        n_vectors: vectors in the archive.
        n_written: those of them that were not here; the others were, made from the same bytes, and were left alone.
    """

    folder: str
    is_new: bool
    n_vectors: int
    n_written: int


def import_stores(
    archive: Archive, root: Root, provenance: Mapping[str, Any], on_progress: OnProgress | None = None
) -> list[ImportedStore]:
    """Put every store of an archive into a features root; whatever is wrong is found before anything is changed.

    The stores are rebuilt out of view, with descriptions written here (those in the archive are not trusted) and
    chunks that match their digest, their checksum and their size. A store of a new key is then moved into place in one
    step (on a remote root its description goes last, before which it counts for nothing). One whose key is here
    already is merged: vectors that are missing here are added, those that are here stay.

    Args:
        archive: the opened archive.
        root: features root.
        provenance: what is noted in new stores beside what the archive says of them, such as the data set's path.
        on_progress: called after each chunk that was checked.

    Raises:
        FeatureArchiveError: a store in the archive is damaged or is not what it says.
        StoreConflictError: a store is here that was made from other versions of the same images.
        CacheInUseError: another process is writing to this data set's stores.
    """
    total, done = sum(len(entry.chunks) for entry in archive.stores), 0
    catalogue = Catalogue(root)
    with writing(root, archive.dataset), _out_of_view(root, archive.dataset) as stage:
        staged = []
        for entry in archive.stores:
            staged.append(_rebuild(archive, entry, stage, provenance))
            done += len(entry.chunks)
            if on_progress:
                on_progress(done, total)
        here = [catalogue.get(entry.key) for entry in archive.stores]
        for local, other in zip(here, staged, strict=True):
            if local is not None:
                _check_versions(local, other)
        imported = []
        for local, other in zip(here, staged, strict=True):
            n_vectors = sum(len(Survey(other).made_from(view)) for view in range(other.n_views))
            if local is None:
                _place(other, root)
                written = n_vectors
            else:
                written = _merge(local, other)
            imported.append(ImportedStore(other.key.folder, local is None, n_vectors, written))
    return imported


@contextmanager
def _out_of_view(root: Root, dataset: str) -> Iterator[Root]:
    """A features root nobody looks into, on the file system of a local root; nothing of it stays.

    What a killed import left is removed first: whoever holds the data set's lock is the only one who imports.
    """
    if not root.is_local:
        with TemporaryDirectory() as temporary:
            yield Root(temporary)
        return
    home = Path(root.join(dataset))
    for leftover in home.glob(f"{IMPORTING}*"):
        shutil.rmtree(leftover)
    folder = home / f"{IMPORTING}{uuid4().hex[:12]}"
    try:
        yield Root(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rebuild(archive: Archive, entry: StoreEntry, stage: Root, provenance: Mapping[str, Any]) -> FeatureStore:
    """The store as an extraction would have made it, with the archive's chunks, each of which was decoded."""
    about = {**entry.provenance, **provenance}
    store = FeatureStore.prepare(stage, entry.key, entry.dim, entry.image_ids, about, entry.chunk_rows)
    for (chunk, view), member in entry.chunks.items():
        content = archive.read(member)
        try:
            vectors, digests = decode(store.place(chunk, view), content)
        except DamagedChunkError as error:
            raise FeatureArchiveError(f"{archive.path} can't be used: {member} {error}.") from error
        if not np.isfinite(vectors[digests.any(axis=1)]).all():
            raise FeatureArchiveError(f"{archive.path} can't be used: {member} holds a vector that is not finite.")
        stage.write(content, store.folder, chunk_name(chunk, view))
    store.set_views(max((view + 1 for _, view in entry.chunks), default=0))
    return store


def _check_versions(local: FeatureStore, other: FeatureStore) -> None:
    """Refuse where an image's vectors here were made from another version of its file than those in the archive."""
    if local.dim != other.dim:
        raise StoreConflictError(
            f"Expected {local.dim} features an image, as {local.folder} has here, got {other.dim} in the archive. "
            "Import into another workspace."
        )
    ours, theirs = file_versions([local]), file_versions([other])
    differing = sorted(i for i in ours.keys() & theirs.keys() if ours[i] != theirs[i])
    if differing:
        raise StoreConflictError(
            f"Feature store {local.folder} is here, made from other versions of {len(differing)} images than the "
            f"archive's ({', '.join(differing[:3])}{', …' if len(differing) > 3 else ''}). Nothing was changed. Import "
            f"into another workspace, or remove it first: `hamcache cache rm {local.folder}`."
        )


def file_versions(stores: Iterable[FeatureStore]) -> dict[str, set[str]]:
    """The file digests behind each image's vectors."""
    versions: dict[str, set[str]] = {}
    for store in stores:
        survey = Survey(store)
        for view in sorted({view for _, view in survey.chunks}):
            for image_id, digest in survey.made_from(view).items():
                versions.setdefault(image_id, set()).add(digest)
    return versions


def _place(staged: FeatureStore, root: Root) -> None:
    """Move a new store to its place, over what a creation that was cut off may have left there."""
    if root.exists(staged.folder):
        root.remove(staged.folder)
    source, target = staged.root.join(staged.folder), root.join(staged.folder)
    if root.is_local:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(source).rename(target)
        return
    files = sorted(staged.root.files(staged.folder), key=lambda name: name == f"{staged.folder}/zarr.json")
    for name in files:  # the group's description, without which it is no store, goes last
        root.fs.makedirs(root.join(name).rpartition("/")[0], exist_ok=True)
        root.fs.put_file(staged.root.join(name), root.join(name))


def _merge(local: FeatureStore, other: FeatureStore) -> int:
    """Add the vectors that only the other store has; returns how many."""
    wanted: dict[int, dict[str, str]] = {}
    ours, theirs = Survey(local), Survey(other)
    for view in range(other.n_views):
        here = ours.made_from(view)
        lacking = {i: digest for i, digest in theirs.made_from(view).items() if i not in here}
        if lacking:
            wanted[view] = lacking
    if wanted:
        ids = sorted({i for lacking in wanted.values() for i in lacking})
        local.add_images(ids)
    for view, lacking in wanted.items():
        ids = list(lacking)
        vector_of = dict(zip(ids, other.read(ids, [view])[:, 0], strict=True))
        for chunk in range(local.n_chunks):
            rows = [(row, i) for row, i in enumerate(local.chunk_ids(chunk)) if i in lacking]
            if rows:
                features = np.stack([vector_of[i] for _, i in rows])
                digests = [lacking[i] for _, i in rows]
                local.write_chunk(local.place(chunk, view), [row for row, _ in rows], features, digests)
    if wanted:
        local.set_views(max(local.n_views, max(wanted) + 1))
    return sum(len(lacking) for lacking in wanted.values())
