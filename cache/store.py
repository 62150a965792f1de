"""One feature store: a Zarr array `[image, view, dim]` that knows, per row and view, which bytes it was made from.

`description.py` has the files that say what a store is, `chunk.py` those with the features. Every chunk file is whole
in itself, so a process may die at any moment, and files may be lost, moved or damaged: what is left of a store is old,
new or absent, and never mislabelled. Zarr's own readers read it too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from hamcache.cache.chunk import (
    DIGEST_BYTES,
    DamagedChunkError,
    Place,
    chunk_name,
    chunk_of,
    decode,
    encode,
    rows_in,
    views_among,
)
from hamcache.cache.description import (
    CHECKED,
    CHUNK_ROWS,
    TRIES,
    Description,
    read_description,
    read_rows,
    write_description,
    write_rows,
)
from hamcache.cache.errors import (
    CacheInUseError,
    CorruptChunkError,
    CorruptStoreError,
    MissingFeaturesError,
    StaleFeaturesError,
    extract_command,
)
from hamcache.cache.keys import DEFAULT_STORAGE, FeatureKey
from hamcache.cache.storage import Root
from hamcache.data.large_arrays import large_array

READERS = min(4, os.cpu_count() or 1)
"""Threads that read and unpack chunks."""


class FeatureStore:
    """Read and write one store. Open with `FeatureStore.open` or `FeatureStore.prepare`.

    Args:
        root: features root.
        description: what it is.
    """

    def __init__(self, root: Root, description: Description) -> None:
        self.root, self._description = root, description
        self.key: FeatureKey = description.key
        self.folder: str = description.key.folder
        self.provenance: Mapping[str, Any] = description.provenance

    # -- making and opening

    @classmethod
    def prepare(
        cls,
        root: Root,
        key: FeatureKey,
        dim: int,
        image_ids: Sequence[str],
        provenance: Mapping[str, Any],
        chunk_rows: int = CHUNK_ROWS,
    ) -> FeatureStore:
        """Open a store, or make it; mend what describes it, and add rows for the images that have none.

        Whatever chunks lie there that belong to it are its features again. `chunk_rows` are those of a new store.
        """
        try:
            found = read_description(root, key.folder)
        except (FileNotFoundError, CorruptStoreError):
            found = None
        if found is None or found.dim != dim:
            chunk_rows = _rows_of_chunks(root, key.folder) or chunk_rows
            found = Description(key, dim, chunk_rows, 0, 0, provenance)
        store = cls(root, found)
        store.add_images(image_ids)
        return store

    @classmethod
    def open(cls, root: Root, folder: str) -> FeatureStore:
        """Open an existing store, at a cost that does not depend on its size.

        Raises:
            FileNotFoundError: there is none, or its creation was cut off.
            CorruptStoreError, OldStoreError: it can't be used as it is; the message says what to do.
        """
        return cls(root, read_description(root, folder))

    # -- contents

    @property
    def dim(self) -> int:
        """Length of one feature vector."""
        return self._description.dim

    @property
    def n_views(self) -> int:
        """Views of which the store holds anything; any of their vectors may be missing."""
        return self._description.n_views

    @property
    def bounds(self) -> tuple[int, int]:
        """Rows and views that the array's description claims."""
        return self._description.n_rows, self._description.n_views

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk."""
        return self._description.chunk_rows

    @property
    def n_chunks(self) -> int:
        """Chunks of rows."""
        return -(-len(self.image_ids) // self.chunk_rows)

    @cached_property
    def image_ids(self) -> list[str]:
        """The image of each row; read when first asked for. Raises CorruptStoreError."""
        return read_rows(self.root, self.key)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each image id."""
        return {image_id: row for row, image_id in enumerate(self.image_ids)}

    def chunk_ids(self, chunk: int) -> list[str]:
        """Image ids of a chunk's rows, in row order."""
        return self.image_ids[chunk * self.chunk_rows : (chunk + 1) * self.chunk_rows]

    def place(self, chunk: int, view: int, image_ids: Sequence[str] | None = None) -> Place:
        """The place of a chunk; `image_ids` are those of its rows where the caller knows them."""
        ids = self.chunk_ids(chunk) if image_ids is None else image_ids
        return Place(self.key.digest, chunk, view, ids, self.chunk_rows, self.dim, self.key.storage)

    # -- writing

    def add_images(self, image_ids: Sequence[str]) -> None:
        """Add rows, at the end, for the images that have none."""
        self.image_ids = write_rows(self.root, self.key, image_ids)
        self.__dict__.pop("row_of", None)
        self._describe(replace(self._description, n_rows=len(self.image_ids)))

    def set_views(self, n_views: int) -> None:
        """Say how many views there is anything of, for `n_views` and for readers of plain Zarr."""
        if n_views != self.n_views:
            self._describe(replace(self._description, n_views=n_views))

    def refresh(self) -> None:
        """Take in the rows that others have added meanwhile."""
        self.image_ids = read_rows(self.root, self.key)
        self.__dict__.pop("row_of", None)

    def describe(self) -> None:
        """Describe rows and views as they are now, whoever added them."""
        described = None
        while True:
            self.refresh()
            bounds = (len(self.image_ids), views_among(self.root.stamps(self.folder), self.n_chunks))
            if bounds == described:
                return
            described = bounds
            self._describe(replace(self._description, n_rows=bounds[0], n_views=bounds[1]))
            if self.root.is_local:  # nobody else writes; remotely somebody may just have described less than there is
                return

    def _describe(self, description: Description) -> None:
        self._description = description
        write_description(self.root, description)

    def write_chunk(self, place: Place, rows: Sequence[int], features: np.ndarray, digests: Sequence[str]) -> None:
        """Write some rows of one chunk, keeping the chunk's other rows; in one step, whoever else writes there too.

        Args:
            place: of the chunk.
            rows: rows within the chunk.
            features: float32 `[len(rows), dim]`, finite.
            digests: hex sha256 of the file behind each row.

        Raises:
            StorageError: a number is too large for the store's.
            CacheInUseError: others write there all the time.
        """
        if not np.isfinite(features).all():
            raise ValueError("Expected finite features, got NaN or infinity: quarantine such images instead.")
        name = chunk_name(place.chunk, place.view)
        for _ in range(TRIES):
            vectors = np.full((len(place.image_ids), self.dim), np.nan, dtype=np.float32)
            made_from = np.zeros((len(place.image_ids), DIGEST_BYTES), dtype=np.uint8)
            stamp = None
            try:
                content, stamp = self.root.read_with_stamp(self.folder, name)
                vectors[:], made_from[:] = decode(place, content)
            except DamagedChunkError:
                grown = replace(place, image_ids=self._ids_now(place))
                if grown != place:  # another process has added images to this chunk: their vectors are kept too
                    place = grown
                    continue
            except (FileNotFoundError, IsADirectoryError):
                pass
            vectors[list(rows)] = features
            made_from[list(rows)] = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, DIGEST_BYTES)
            if self.root.write_if(encode(place, vectors, made_from), self.folder, name, seen=stamp):
                return
        raise CacheInUseError(f"{self._where}: others write {name} all the time. Wait for them to end.")

    def _ids_now(self, place: Place) -> Sequence[str]:
        """Images of a chunk's rows as they are now, where others have added some; else those that it had."""
        first = place.chunk * self.chunk_rows
        try:
            ids = read_rows(self.root, self.key)[first : first + self.chunk_rows]
        except CorruptStoreError:
            return place.image_ids
        return ids if ids[: len(place.image_ids)] == list(place.image_ids) else place.image_ids

    # -- reading

    def read(
        self, image_ids: Sequence[str], views: Sequence[int] = (0,), digests: Mapping[str, str] | None = None
    ) -> np.ndarray:
        """Features float32 `[len(image_ids), len(views), dim]`, rows in the order asked for.

        Args:
            image_ids: which images.
            views: which views.
            digests: sha256 of each image's file as it is now; given, features made from other bytes are refused.

        Raises:
            MissingFeaturesError: something asked for is not there; nothing is ever filled in.
            StaleFeaturesError: an image's file has changed since its features were made.
            CorruptChunkError: a chunk is not as it was written, or not in its place.
        """
        absent = [i for i in image_ids if i not in self.row_of]
        if absent or not views or min(views) < 0:
            raise self._missing(absent or list(image_ids), views)
        rows = np.array([self.row_of[i] for i in image_ids], dtype=np.int64)
        features = large_array((len(rows), len(views), self.dim))
        made_from = np.zeros((len(rows), len(views), DIGEST_BYTES), dtype=np.uint8)
        order = np.argsort(rows // self.chunk_rows, kind="stable")
        chunks, starts = np.unique(rows[order] // self.chunk_rows, return_index=True)
        jobs = [
            (int(chunk), places, number, view)
            for chunk, places in zip(chunks, np.split(order, starts[1:]), strict=True)
            for number, view in enumerate(views)
        ]

        def fill(job: tuple[int, np.ndarray, int, int]) -> None:
            chunk, places, number, view = job
            found = self._decoded(chunk, view)
            if found is not None:
                here, there = _span(places), _span(rows[places] - chunk * self.chunk_rows)
                features[here, number], made_from[here, number] = found[0][there], found[1][there]

        if len(jobs) > 1 and READERS > 1:
            with ThreadPoolExecutor(READERS) as pool:
                list(pool.map(fill, jobs))
        else:
            list(map(fill, jobs))
        holes = np.any(~made_from.any(axis=2), axis=1)
        if holes.any():
            raise self._missing([image_ids[int(n)] for n in np.flatnonzero(holes)], views)
        if digests is not None:
            self._refuse_stale(image_ids, views, made_from, digests)
        return features

    def _decoded(self, chunk: int, view: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Features and digests of a chunk, None where there is no file."""
        try:
            content = self.root.read(self.folder, chunk_name(chunk, view))
        except (FileNotFoundError, IsADirectoryError):
            return None
        try:
            return decode(self.place(chunk, view), content)
        except DamagedChunkError as error:
            with suppress(OSError):  # else the next survey would take the chunk for the one it once checked
                self.root.remove(self.folder, CHECKED)
            raise CorruptChunkError(
                f"{self._where}: {chunk_name(chunk, view)} {error}. {self._mend([view])}"
            ) from error

    def _refuse_stale(
        self, image_ids: Sequence[str], views: Sequence[int], made_from: np.ndarray, digests: Mapping[str, str]
    ) -> None:
        wanted = bytes.fromhex("".join(digests[i] for i in image_ids))
        expected = np.frombuffer(wanted, np.uint8).reshape(-1, 1, DIGEST_BYTES)
        stale = np.flatnonzero((made_from != expected).any(axis=(1, 2)))
        if len(stale):
            raise StaleFeaturesError(
                f"{self._where} was made from other bytes than the files have now, for {len(stale)} images "
                f"({_some([image_ids[int(n)] for n in stale])}). {self._mend(views)}"
            )

    # -- words for errors

    @property
    def _where(self) -> str:
        return f"Feature store {self.folder}"

    def _mend(self, views: Sequence[int]) -> str:
        dataset = self.provenance.get("dataset", self.key.dataset)
        key, fit = self.key, self.key.preprocessing.get("fit")
        further = {
            "precision": key.precision,
            "storage": key.storage if key.storage != DEFAULT_STORAGE else None,
            "aug-seed": key.seed or None,
            "fit": None if fit == "crop" else fit,
        }
        command = extract_command(dataset, key.features_name, key.augmentation_name, max(views) + 1, further)
        return f"Make them with `{command}`."

    def _missing(self, image_ids: Sequence[str], views: Sequence[int]) -> MissingFeaturesError:
        return MissingFeaturesError(
            f"{self._where} lacks views {list(views)} of {len(image_ids)} images ({_some(image_ids)}). "
            f"{self._mend(views)}"
        )


def _rows_of_chunks(root: Root, folder: str) -> int | None:
    """Rows of the chunks that lie in a store's folder, from one whose label can be read."""
    names = (name for name in sorted(root.stamps(folder)) if chunk_of(name))
    return next(filter(None, (rows_in(root.read(folder, name), CHUNK_ROWS) for name in names)), None)


def _span(numbers: np.ndarray) -> slice | np.ndarray:
    """The same places as a slice where they follow one another, which spares a copy."""
    first, n = int(numbers[0]), len(numbers)
    return slice(first, first + n) if np.array_equal(numbers, np.arange(first, first + n)) else numbers


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
