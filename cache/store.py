"""One feature store: a Zarr array `[image, view, dim]` that knows, per row and view, which bytes it was made from.

Layout of the Zarr group:

- `features` float32 `[row, view, dim]`, one Zarr chunk per (chunk of rows, view), NaN where nothing was written;
- `digest` uint8 `[row, view, 32]`, same chunks: the sha256 of the image file each vector was made from, zeros for none;
- attributes: the key, the image id of every row (with their sha256), provenance.

A vector counts as present only if its digest is there, and a digest is written after its features and cleared before
they are replaced. So a process may die at any moment: what is left is old, new or absent, and never mislabelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import BaseZarrError

from hamcache.cache.errors import (
    CorruptChunkError,
    CorruptStoreError,
    MissingFeaturesError,
    StaleFeaturesError,
    extract_command,
)
from hamcache.cache.keys import FeatureKey, canonical_json
from hamcache.cache.storage import Root, chunk_bytes, is_intact

CHUNK_ROWS = 64
"""Rows in a chunk, and images in one task. A kill loses at most this many images a worker."""
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Flaw:
    """A flaw of a store, as `verify` reports it. `chunk` and `view` are -1 where they don't apply."""

    what: str
    chunk: int = -1
    view: int = -1


class FeatureStore:
    """Read and write one store. Open with `FeatureStore.open` or `FeatureStore.create`.

    Args:
        root: features root.
        folder: the store's folder below it.
        group: its Zarr group.
    """

    def __init__(self, root: Root, folder: str, group: zarr.Group) -> None:
        self.root, self.folder, self._group = root, folder, group
        try:
            attributes = dict(group.attrs)
            self.key = FeatureKey.from_dict(attributes["key"])  # type: ignore[arg-type]
            self.image_ids: list[str] = list(attributes["image_ids"])  # type: ignore[arg-type]
            self.provenance: dict[str, Any] = dict(attributes["provenance"])  # type: ignore[arg-type]
            self._features: zarr.Array = group["features"]  # type: ignore[assignment]
            self._digest: zarr.Array = group["digest"]  # type: ignore[assignment]
            sound = attributes["key_digest"] == self.key.digest and attributes["image_ids_sha256"] == _hash(
                self.image_ids
            )
        except (KeyError, TypeError, ValueError, BaseZarrError) as error:
            raise CorruptStoreError(f"{self._where} can't be read ({error!r}). {self._remedy}") from error
        if not sound:
            raise CorruptStoreError(
                f"{self._where}: its key or row list was altered after it was written. {self._remedy}"
            )

    # -- making and opening

    @classmethod
    def create(
        cls, root: Root, key: FeatureKey, dim: int, image_ids: Sequence[str], provenance: Mapping[str, Any]
    ) -> FeatureStore:
        """Make an empty store with a row for each image and no views."""
        group = zarr.create_group(root.zarr_store(key.folder), overwrite=True)
        for name, width, dtype, fill in (
            ("features", dim, "float32", np.nan),
            ("digest", DIGEST_BYTES, "uint8", 0),
        ):
            group.create_array(
                name,
                shape=(len(image_ids), 0, width),
                chunks=(CHUNK_ROWS, 1, width),
                dtype=dtype,
                fill_value=fill,
                compressors=[ZstdCodec(level=1), Crc32cCodec()],
            )
        # The attributes go last: a folder without them is a leftover that `gc` removes and `create` writes over.
        # All in one write (`attrs.update` makes one of each), so that a kill leaves none or all of them.
        group.update_attributes(
            {
                "key": key.to_dict(),
                "key_digest": key.digest,
                "provenance": dict(provenance),
                **_rows(image_ids),
            }
        )
        return cls(root, key.folder, group)

    @classmethod
    def open(cls, root: Root, folder: str) -> FeatureStore:
        """Open an existing store; raises FileNotFoundError, or CorruptStoreError when its description is damaged."""
        try:
            group = zarr.open_group(root.zarr_store(folder), mode="r+")
        except FileNotFoundError:
            raise
        except (ValueError, TypeError, KeyError, BaseZarrError) as error:
            remedy = f"Remove it with `hamcache cache rm {folder}` and extract again."
            raise CorruptStoreError(f"Feature store {folder} can't be read ({error!r}). {remedy}") from error
        return cls(root, folder, group)

    # -- contents

    @property
    def dim(self) -> int:
        """Length of one feature vector."""
        return int(self._features.shape[2])

    @property
    def n_views(self) -> int:
        """Views that the store has room for; any of their vectors may still be missing."""
        return int(self._features.shape[1])

    @property
    def n_chunks(self) -> int:
        """Chunks of rows."""
        return -(-len(self.image_ids) // CHUNK_ROWS)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each image id."""
        return {image_id: row for row, image_id in enumerate(self.image_ids)}

    def chunk_ids(self, chunk: int) -> list[str]:
        """Image ids of a chunk's rows, in row order."""
        return self.image_ids[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]

    def grow(self, image_ids: Sequence[str] = (), views: int = 0) -> None:
        """Make room for further images (appended as new rows) and for `views` views in all. Nothing is recomputed."""
        ids = [*self.image_ids, *(i for i in sorted(image_ids) if i not in self.row_of)]
        shape = (max(len(ids), self._features.shape[0]), max(views, self.n_views))
        for array in (self._features, self._digest):
            if array.shape[:2] != shape:
                array.resize((*shape, array.shape[2]))
        if len(ids) > len(self.image_ids):
            self._group.update_attributes(_rows(ids))
            self.image_ids = ids
            self.__dict__.pop("row_of", None)

    def chunk_digests(self, chunk: int, view: int) -> list[str]:
        """Hex sha256 of the file behind each row of a chunk, "" where no intact vector is there."""
        rows = len(self.chunk_ids(chunk))
        if view < self.n_views and _intact(self._features, chunk, view) and _intact(self._digest, chunk, view):
            return [_hex(row) for row in _load(self._digest, _region(chunk, rows), view)]
        return [""] * rows

    def made_from(self, view: int) -> dict[str, str]:
        """The file digest behind each image's vector of a view, for the vectors that are there and intact."""
        digests = (d for chunk in range(self.n_chunks) for d in self.chunk_digests(chunk, view))
        return {image_id: digest for image_id, digest in zip(self.image_ids, digests, strict=True) if digest}

    # -- writing

    def write_chunk(
        self, chunk: int, view: int, rows: Sequence[int], features: np.ndarray, digests: Sequence[str]
    ) -> None:
        """Write some rows of one chunk, keeping the chunk's other rows.

        Args:
            chunk: number of the chunk.
            view: number of the view.
            rows: rows within the chunk, 0 <= row < CHUNK_ROWS.
            features: float32 `[len(rows), dim]`, finite.
            digests: hex sha256 of the file behind each row.
        """
        if not np.isfinite(features).all():
            raise ValueError("Expected finite features, got NaN or infinity: quarantine such images instead.")
        region = _region(chunk, len(self.chunk_ids(chunk)))
        keep = _intact(self._features, chunk, view) and _intact(self._digest, chunk, view)
        vectors = np.full((region.stop - region.start, self.dim), np.nan, dtype=np.float32)
        made_from = np.zeros((region.stop - region.start, DIGEST_BYTES), dtype=np.uint8)
        if keep:
            vectors[:], made_from[:] = _load(self._features, region, view), _load(self._digest, region, view)
        if not keep or made_from[list(rows)].any():
            made_from[list(rows)] = 0
            self._digest[region, view] = made_from
        vectors[list(rows)] = features
        made_from[list(rows)] = [list(bytes.fromhex(d)) for d in digests]
        self._features[region, view] = vectors
        self._digest[region, view] = made_from

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
            CorruptChunkError: a checksum does not match.
        """
        absent = [i for i in image_ids if i not in self.row_of]
        if absent or max(views, default=-1) >= self.n_views or min(views, default=0) < 0:
            raise self._missing(absent or list(image_ids), views)
        rows = np.array([self.row_of[i] for i in image_ids], dtype=np.int64)
        try:
            made_from = _select(self._digest, rows, views)
            features = _select(self._features, rows, views)
        except (ValueError, RuntimeError) as error:
            raise CorruptChunkError(f"{self._where} has a damaged chunk ({error}). {self._mend(views)}") from error
        holes = ~made_from.any(axis=2) | ~np.isfinite(features).all(axis=2)
        if holes.any():
            raise self._missing([image_ids[int(n)] for n in np.flatnonzero(holes.any(axis=1))], views)
        if digests is not None:
            expected = np.array([list(bytes.fromhex(digests[i])) for i in image_ids], dtype=np.uint8)
            stale = np.flatnonzero((made_from != expected[:, None]).any(axis=(1, 2)))
            if len(stale):
                raise StaleFeaturesError(
                    f"{self._where} was made from other bytes than the files have now, for {len(stale)} images "
                    f"({_some([image_ids[int(n)] for n in stale])}). {self._mend(views)}"
                )
        return features

    def filled(self) -> float:
        """Share of the vectors the store has room for that are there, by their digests."""
        made_from = _load(self._digest, slice(0, len(self.image_ids)))
        return float(made_from.any(axis=2).mean()) if made_from.size else 0.0

    def verify(self) -> Iterator[Flaw]:
        """Decode everything and yield what is wrong: damaged chunks, and vectors that contradict their digest."""
        for chunk in range(self.n_chunks):
            for view in range(self.n_views):
                damaged = False
                for name, array in (("features", self._features), ("digest", self._digest)):
                    encoded = chunk_bytes(array, chunk, view, 0)
                    if encoded is not None and not is_intact(encoded):
                        yield Flaw(f"{name} chunk: checksum does not match", chunk, view)
                        damaged = True
                if not damaged:
                    region = _region(chunk, len(self.chunk_ids(chunk)))
                    there = _load(self._digest, region, view).any(axis=1)
                    if not np.isfinite(_load(self._features, region, view)[there]).all():
                        yield Flaw("features are missing that the digests claim", chunk, view)

    # -- words for errors

    @property
    def _where(self) -> str:
        return f"Feature store {self.folder}"

    @property
    def _remedy(self) -> str:
        return f"Remove it with `hamcache cache rm {self.folder}` and extract again."

    def _mend(self, views: Sequence[int]) -> str:
        dataset = self.provenance.get("dataset", self.key.dataset)
        command = extract_command(dataset, self.key.features_name, self.key.augmentation_name, max(views) + 1)
        return f"Make them with `{command}`."

    def _missing(self, image_ids: Sequence[str], views: Sequence[int]) -> MissingFeaturesError:
        return MissingFeaturesError(
            f"{self._where} lacks views {list(views)} of {len(image_ids)} images ({_some(image_ids)}). "
            f"{self._mend(views)}"
        )


def _rows(image_ids: Sequence[str]) -> dict[str, Any]:
    return {"image_ids": list(image_ids), "image_ids_sha256": _hash(image_ids)}


def _hash(image_ids: Sequence[str]) -> str:
    return hashlib.sha256(canonical_json(list(image_ids)).encode()).hexdigest()


def _hex(digest: np.ndarray) -> str:
    return digest.tobytes().hex() if digest.any() else ""


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _region(chunk: int, rows: int) -> slice:
    return slice(chunk * CHUNK_ROWS, chunk * CHUNK_ROWS + rows)


def _intact(array: zarr.Array, chunk: int, view: int) -> bool:
    encoded = chunk_bytes(array, chunk, view, 0)
    return encoded is not None and is_intact(encoded)


def _load(array: zarr.Array, *selection: slice | int) -> np.ndarray:
    return np.asarray(array[selection])


def _select(array: zarr.Array, rows: np.ndarray, views: Sequence[int]) -> np.ndarray:
    """`array[rows][:, views]`, read in one sweep and without a copy where a view of what was read will do."""
    low = min(views)
    loaded = _load(array, slice(0, int(rows.max(initial=-1)) + 1), slice(low, max(views) + 1))
    columns = [view - low for view in views]
    if columns != list(range(loaded.shape[1])):
        loaded = loaded[:, columns]
    return loaded if np.array_equal(rows, np.arange(len(loaded))) else loaded[rows]
