"""Bring the stores of the layout before to this version's, in place: the features stay as they are, to the bit.

Layout 1 kept the digests in a second Zarr array, `digest`, and the rows in the attributes of the group. A chunk is
rewritten in one step with its digests, the description goes last; so a migration that was killed is begun again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hamcache.cache.chunk import DIGEST_BYTES, Place, chunk_name, encode
from hamcache.cache.description import GROUP, Description, read_description, write_description, write_rows
from hamcache.cache.errors import CorruptStoreError, OldStoreError
from hamcache.cache.keys import FeatureKey
from hamcache.cache.storage import Root

_DIGESTS = "digest"
_ROWS = 64


@dataclass(frozen=True)
class Migrated:
    """Outcome for one store: vectors brought over, and chunks that were damaged and have to be extracted again."""

    folder: str
    n_vectors: int
    n_damaged: int


def old_stores(root: Root) -> list[str]:
    """Folders of the stores of layout 1, and of those whose migration was killed before its last step."""
    return [folder for folder in root.glob("*/*/*.zarr") if _is_old(root, folder) or root.exists(folder, _DIGESTS)]


def migrate(root: Root, folder: str, on_progress: Callable[[int, int], None] | None = None) -> Migrated:
    """Bring one store of layout 1 to this version's; the data set's lock must be held.

    Args:
        root: features root.
        folder: from `old_stores`.
        on_progress: called with the chunks done and their number.

    Raises:
        CorruptStoreError: its description is damaged; nothing was changed.
    """
    n_vectors = n_damaged = 0
    if _is_old(root, folder):
        attributes = _attributes(root, folder)
        group = _opened(root, folder)
        features, digests = group["features"], group[_DIGESTS]
        key, image_ids = FeatureKey.from_dict(attributes["key"]), list(attributes["image_ids"])
        n_views, dim = features.shape[1:]
        places = [(chunk, view) for chunk in range(-(-len(image_ids) // _ROWS)) for view in range(n_views)]
        for done, (chunk, view) in enumerate(places, start=1):
            ids = image_ids[chunk * _ROWS : (chunk + 1) * _ROWS]
            place = Place(key.digest, chunk, view, ids, _ROWS, dim)
            region = (slice(chunk * _ROWS, chunk * _ROWS + len(ids)), view)
            try:
                vectors, made_from = np.asarray(features[region]), np.asarray(digests[region])
                made_from = np.where(np.isfinite(vectors).all(axis=1)[:, None], made_from, 0).astype(np.uint8)
            except (ValueError, RuntimeError, OSError):
                vectors, made_from = np.zeros((len(ids), dim)), np.zeros((len(ids), DIGEST_BYTES), np.uint8)
                n_damaged += 1
            if made_from.any():
                root.write(encode(place, vectors, made_from), folder, chunk_name(chunk, view))
                n_vectors += int(made_from.any(axis=1).sum())
            elif root.exists(folder, chunk_name(chunk, view)):
                root.remove(folder, chunk_name(chunk, view))
            if on_progress:
                on_progress(done, len(places))
        write_rows(root, key, image_ids)
        write_description(root, Description(key, dim, _ROWS, len(image_ids), n_views, attributes["provenance"]))
    if root.exists(folder, _DIGESTS):
        root.remove(folder, _DIGESTS)
    return Migrated(folder, n_vectors, n_damaged)


def _is_old(root: Root, folder: str) -> bool:
    try:
        read_description(root, folder)
    except OldStoreError:
        return True
    except (CorruptStoreError, FileNotFoundError):
        pass
    return False


def _attributes(root: Root, folder: str) -> dict[str, Any]:
    try:
        attributes = dict(json.loads(root.read(folder, GROUP))["attributes"])
        key = FeatureKey.from_dict(attributes["key"])
        sound = key.folder == folder and attributes["key_digest"] == key.digest and attributes["image_ids"]
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise CorruptStoreError(
            f"Feature store {folder}: its description is damaged. Remove it with `hamcache cache rm {folder}` and "
            "extract again."
        )
    return attributes


def _opened(root: Root, folder: str) -> Any:
    import zarr
    from zarr.storage import FsspecStore, LocalStore

    if root.is_local:
        return zarr.open_group(LocalStore(root.join(folder)), mode="r")
    return zarr.open_group(FsspecStore.from_url(f"{root.url.rstrip('/')}/{folder}"), mode="r")
