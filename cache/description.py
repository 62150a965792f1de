"""The files that describe a store, beside its chunks: made, read and checked here.

- `zarr.json`: the Zarr group; its attributes are the layout, the key, the provenance, the sha256 of what follows, and a
  seal over all of these, which every later layout keeps: so a damaged one is never taken for one of another version;
- `features/zarr.json`: the Zarr array `[row, view, dim]`; of it, only the number of rows and views ever changes;
- `rows.json`: the image of each row, under a line that says whose rows they are. Rows are only ever added at the end.

They can all be made again from the key, the dimension and the chunks, so a damaged one costs no features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from typing import Any

from hamcache.cache.errors import CacheInUseError, CorruptStoreError, OldStoreError
from hamcache.cache.keys import DEFAULT_STORAGE, FeatureKey, canonical_json
from hamcache.cache.storage import Root

LAYOUT = 2
"""Version of the files of a store; `hamcache.cache.migrate` reads the one before."""

CHUNK_ROWS = 64
"""Rows in a chunk, unless larger ones were asked for, and what their number is a multiple of: so an image has the same
place in its batch however large chunks are. A kill loses at most a chunk's images a worker."""

TRIES = 50
"""Times that a file is read, changed and written, until nobody else wrote it meanwhile."""

GROUP, ARRAY, ROWS = "zarr.json", "features/zarr.json", "rows.json"
SEAL = "seal"
PLAIN_GROUP = {"zarr_format": 3, "node_type": "group"}
CHECKED = "checked.json"
"""Memory of `hamcache.cache.survey`, of this machine only."""
REMEDY = "The `hamcache extract` command that made it mends it."


@dataclass(frozen=True)
class Description:
    """A store's description but for its rows.

    Attributes:
        key: its key.
        dim: length of a feature vector.
        chunk_rows: rows of a chunk.
        n_rows, n_views: bounds of the array: the rows there are, and the views of which there is anything.
        provenance: circumstances of its creation.
    """

    key: FeatureKey
    dim: int
    chunk_rows: int
    n_rows: int
    n_views: int
    provenance: Mapping[str, Any]


def read_description(root: Root, folder: str) -> Description:
    """Read what describes a store, and check it against its key and its folder.

    Raises:
        FileNotFoundError: there is no store, or its creation was cut off.
        OldStoreError: it has another layout.
        CorruptStoreError: it contradicts itself.
    """
    content, _ = _read_or_none(root, folder, GROUP)
    if content is None:
        raise FileNotFoundError(f"Feature store {folder} has no {GROUP}: there is none, or it was cut off.")
    try:
        group = json.loads(content)
        attributes = group.pop("attributes")
        if not attributes:
            raise FileNotFoundError(f"Feature store {folder} was cut off while it was made.")
        layout = attributes.get("layout", 1)
        whole = attributes == sealed(attributes)
        if layout != LAYOUT and (whole or SEAL not in attributes):
            raise _other_layout(folder, layout)
        key = FeatureKey.from_dict(attributes["key"])
        array = json.loads(_read_or_none(root, folder, ARRAY)[0] or "{}")
        n_rows, n_views, dim = map(index, array["shape"])
        chunk_rows = index(array["chunk_grid"]["configuration"]["chunk_shape"][0])
        whole &= group == PLAIN_GROUP
        sound = attributes["array_sha256"] == _array_digest(array) and min(n_rows, n_views) >= 0 < min(dim, chunk_rows)
        described = attributes["key_digest"] == key.digest and key.folder == folder
        provenance = dict(attributes["provenance"])
    except OldStoreError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise CorruptStoreError(f"Feature store {folder}: its description is damaged ({error!r}). {REMEDY}") from error
    if not whole:
        raise CorruptStoreError(f"Feature store {folder}: {GROUP} was altered after it was written. {REMEDY}")
    if not described:
        raise CorruptStoreError(f"Feature store {folder}: {GROUP} is that of another store. {REMEDY}")
    if not sound:
        raise CorruptStoreError(f"Feature store {folder}: {ARRAY} was altered after it was written. {REMEDY}")
    return Description(key, dim, chunk_rows, n_rows, n_views, provenance)


def write_description(root: Root, wanted: Description) -> None:
    """Write a store's description where another is there, or none; the group goes last, before which it is no store."""
    folder = wanted.key.folder
    array = array_metadata(wanted.dim, wanted.chunk_rows, wanted.key.storage) | {
        "shape": [wanted.n_rows, wanted.n_views, wanted.dim]
    }
    attributes = {
        "layout": LAYOUT,
        "key": wanted.key.to_dict(),
        "key_digest": wanted.key.digest,
        "array_sha256": _array_digest(array),
        "provenance": dict(wanted.provenance),
    }
    group = {"attributes": sealed(attributes), **PLAIN_GROUP}
    for name, value in ((ARRAY, array), (GROUP, group)):
        content = (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
        if _read_or_none(root, folder, name)[0] != content:
            root.write(content, folder, name)


def rows_for(n_bytes: float, vector_bytes: int) -> int:
    """Rows of chunks of about so many bytes: a multiple of `CHUNK_ROWS`, and no less."""
    return max(1, int(n_bytes / vector_bytes / CHUNK_ROWS)) * CHUNK_ROWS


def read_rows(root: Root, key: FeatureKey) -> list[str]:
    """The image of each row. Raises CorruptStoreError where the file is damaged, or is another store's."""
    rows = rows_in(_read_or_none(root, key.folder, ROWS)[0], key)
    if rows is None:
        raise CorruptStoreError(f"Feature store {key.folder}: {ROWS} is damaged or another store's. {REMEDY}")
    return rows


def write_rows(root: Root, key: FeatureKey, image_ids: Sequence[str]) -> list[str]:
    """Add the images that have no row yet, in the order given; returns all rows. A damaged file is made again."""
    for _ in range(TRIES):
        content, stamp = _read_or_none(root, key.folder, ROWS)
        known = rows_in(content, key)
        here = set(known or ())
        rows = [*(known or ()), *(image_id for image_id in dict.fromkeys(image_ids) if image_id not in here)]
        if known is not None and len(rows) == len(known):
            return rows
        listed = canonical_json(rows).encode()
        head = canonical_json({"key_digest": key.digest, "sha256": hashlib.sha256(listed).hexdigest()})
        if root.write_if(head.encode() + b"\n" + listed + b"\n", key.folder, ROWS, seen=stamp):
            return rows
    raise CacheInUseError(f"Feature store {key.folder}: others write {ROWS} all the time. Wait for them to end.")


@lru_cache
def _array(dim: int, chunk_rows: int, storage: str) -> str:
    import numpy as np
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    array = zarr.create_array(
        MemoryStore(),
        shape=(0, 0, dim),
        chunks=(chunk_rows, 1, dim),
        dtype=storage,
        fill_value=np.nan,
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
    )
    return json.dumps(array.metadata.to_dict())


def array_metadata(dim: int, chunk_rows: int = CHUNK_ROWS, storage: str = DEFAULT_STORAGE) -> dict[str, Any]:
    """Zarr's metadata of a store's array that has no rows and views yet."""
    return dict(json.loads(_array(dim, chunk_rows, storage)))


def sealed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a store's group, with the sha256 of all others as the last one."""
    rest = {name: value for name, value in attributes.items() if name != SEAL}
    return {**rest, SEAL: hashlib.sha256(canonical_json(rest).encode()).hexdigest()}


def _array_digest(array: Mapping[str, Any]) -> str:
    """sha256 of an array's metadata but for the rows and views that it has room for."""
    fixed = {**array, "shape": array["shape"][2:]}
    return hashlib.sha256(canonical_json(fixed).encode()).hexdigest()


def rows_in(content: bytes | None, key: FeatureKey) -> list[str] | None:
    """The rows that a file holds, None where they are damaged or another store's."""
    head, _, listed = (content or b"").partition(b"\n")
    try:
        said = json.loads(head)
        if said["key_digest"] == key.digest and said["sha256"] == hashlib.sha256(listed[:-1]).hexdigest():
            return list(map(str, json.loads(listed)))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None


def _read_or_none(root: Root, *parts: str) -> tuple[bytes | None, str | None]:
    try:
        return root.read_with_stamp(*parts)
    except (FileNotFoundError, IsADirectoryError):
        return None, None


def _other_layout(folder: str, layout: object) -> OldStoreError:
    way = "Update hamcache." if isinstance(layout, int) and layout > LAYOUT else "Run `hamcache cache migrate`."
    return OldStoreError(f"Feature store {folder}: expected layout {LAYOUT}, got {layout!r}. {way}")
