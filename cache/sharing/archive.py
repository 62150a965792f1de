"""One file that carries feature stores of one data set from machine to machine, checked to the last byte.

It is a zip whose members are stored as they are, so that any unpacker gives the Zarr groups back:

- `features/<folder of a store>/...`: the store's files; the data set's path in its provenance is replaced by its name;
- what the caller puts beside them (the image table, the licence);
- `manifest.json`: what stores there are, and the size and sha256 of every other member.

The zip's comment, which is the end of the file, is the sha256 of all bytes before it. The same stores give the same
bytes, and any other byte anywhere is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from hamcache.cache.chunk import chunk_name, chunk_of
from hamcache.cache.description import ARRAY, CHUNK_ROWS, GROUP, ROWS, rows_in, sealed
from hamcache.cache.errors import CacheInUseError, CorruptStoreError, FeatureArchiveError
from hamcache.cache.keys import FeatureKey
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey
from hamcache.cache.verify import verify

FORMAT = "hamcache-features"
VERSION = 2
MANIFEST = "manifest.json"
FEATURES = "features"

_SEAL = b"sha256:"
_SEAL_BYTES = len(_SEAL) + 64
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can name: no clock in the archive
_DESCRIPTIONS = (GROUP, ARRAY, ROWS)
_SAFE_PART = re.compile(r"(?!\.)[\w .@+=~,-]+")
_READ_BYTES = 1 << 20

OnProgress = Callable[[int, int], None]
"""Called with the files done and their number."""


@dataclass(frozen=True)
class StoreEntry:
    """A store as an archive describes it.

    Attributes:
        key: its key, whose folder is safe to use as a path.
        image_ids: image of each row.
        n_views, dim, chunk_rows: sizes.
        provenance: where it comes from.
        chunks: `(chunk, view)` of each chunk: the member's name.
    """

    key: FeatureKey
    image_ids: list[str]
    n_views: int
    dim: int
    chunk_rows: int
    provenance: dict[str, Any]
    chunks: dict[tuple[int, int], str]


# -- writing


def write_archive(
    path: Path, stores: Sequence[FeatureStore], beside: Mapping[str, bytes], on_progress: OnProgress | None = None
) -> None:
    """Write stores of one data set, and what belongs beside them, into one file: whole or not at all.

    Args:
        path: the file to write; replaced if it is there.
        stores: each is verified first.
        beside: further members by name (no folders).
        on_progress: called after each file.

    Raises:
        FeatureArchiveError: no store, or stores of several data sets.
        CorruptStoreError: a store has a damaged chunk.
        CacheInUseError: a store changes while it is read.
    """
    datasets = sorted({store.key.dataset for store in stores})
    if len(datasets) != 1:
        raise FeatureArchiveError(f"Expected stores of one data set, got {', '.join(datasets) or 'no store'}.")
    for store in stores:
        own = _files(store)
        for flaw in verify(store):
            if flaw.name in own:
                raise CorruptStoreError(
                    f"Feature store {store.folder} is damaged ({flaw.name} {flaw.what}): `hamcache cache verify`."
                )
    members = [(store, name) for store in stores for name in _files(store)]
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "dataset": datasets[0],
        "stores": [_description(store) for store in stores],
        "files": {},
    }
    partial = path.with_name(f".{path.name}.{uuid4().hex[:12]}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(partial, "x", zipfile.ZIP_STORED) as archive:
            archive.comment = _SEAL + b"0" * 64
            for name, content in sorted(beside.items()):
                manifest["files"][name] = _add(archive, name, content)
            for done, (store, name) in enumerate(members, start=1):
                member = f"{FEATURES}/{store.folder}/{name}"
                manifest["files"][member] = _add(archive, member, _content(store, name))
                if on_progress:
                    on_progress(done, len(members))
            _add(archive, MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
        with partial.open("r+b") as file:
            digest = _sha256_before_seal(file)
            file.seek(-64, 2)
            file.write(digest.encode())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _files(store: FeatureStore) -> list[str]:
    """The store's own files, relative to its folder: no partial ones, no chunk outside its rows."""
    return [*_DESCRIPTIONS, *sorted(chunk_name(*place) for place in Survey(store).chunks)]


def _description(store: FeatureStore) -> dict[str, Any]:
    sizes = {"images": len(store.image_ids), "views": store.n_views, "dim": store.dim, "chunk_rows": store.chunk_rows}
    return {"folder": store.folder, "key": store.key.to_dict(), "key_digest": store.key.digest, **sizes}


def _content(store: FeatureStore, name: str) -> bytes:
    """A file of a store; its path on this machine stays here, and so does whatever came after it was opened."""
    content = bytes(store.root.fs.cat_file(store.root.join(store.folder, name)))
    if name == ROWS and rows_in(content, store.key) != store.image_ids:
        raise CacheInUseError(f"Feature store {store.folder} is being written. Wait for the extraction to end.")
    if name != GROUP:
        return content
    description = json.loads(content)
    attributes = description["attributes"]
    attributes["provenance"]["dataset"] = store.key.dataset
    description["attributes"] = sealed(attributes)
    return (json.dumps(description, indent=1, sort_keys=True) + "\n").encode()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> dict[str, Any]:
    """Write one member, and return what the manifest says of it."""
    info = zipfile.ZipInfo(name, _LONG_AGO)
    info.create_system, info.external_attr = 3, 0o644 << 16
    archive.writestr(info, content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _sha256_before_seal(file: BinaryIO) -> str:
    """sha256 of all of a file but its last 64 bytes, which hold it."""
    left = file.seek(0, 2) - 64
    digest = hashlib.sha256()
    file.seek(0)
    while left > 0 and (piece := file.read(min(left, _READ_BYTES))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


# -- reading


class Archive:
    """An archive that was checked as a whole: nothing in it is used whose digest is not the manifest's.

    Open it with `Archive.open`, as a context manager.

    Attributes:
        path: the file.
        digest: sha256 of all of it but the seal.
        dataset: name of the data set.
        stores: what it holds.
    """

    def __init__(self, path: Path, digest: str, members: zipfile.ZipFile) -> None:
        self.path, self.digest, self._zip = path, digest, members
        self._files = self._checked_members()
        self.dataset = str(self._manifest["dataset"])
        self.stores = [self._entry(described) for described in self._manifest["stores"]]
        if not self.stores or {entry.key.dataset for entry in self.stores} != {self.dataset}:
            raise self._wrong("it does not hold stores of one data set")
        if len({entry.key.folder for entry in self.stores}) < len(self.stores):
            raise self._wrong("it names a store twice")

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Open an archive and check all of it.

        Raises:
            FeatureArchiveError: it is none, or was cut off or changed.
        """
        if not path.is_file():  # a pipe would be waited for without end
            raise FeatureArchiveError(f"Expected an archive that `hamcache cache export` wrote, got {path}: no file.")
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(-min(size, _SEAL_BYTES), 2)
            seal = file.read()
            if not seal.startswith(_SEAL):
                raise FeatureArchiveError(
                    f"{path} is no archive of features, or was cut off: expected a file that `hamcache cache export` "
                    "wrote, whole. Fetch it again."
                )
            digest = _sha256_before_seal(file)
        if seal.removeprefix(_SEAL) != digest.encode():
            raise FeatureArchiveError(
                f"{path} was changed or damaged on its way: its checksum does not match. Fetch it again."
            )
        members = None
        try:
            members = zipfile.ZipFile(path)
            return cls(path, digest, members)
        except Exception as error:  # whatever a file made to deceive makes the readers stumble over
            if members is not None:
                members.close()
            if isinstance(error, FeatureArchiveError):
                raise
            raise FeatureArchiveError(
                f"{path} can't be used ({error!r}): `hamcache cache export` did not write it."
            ) from error

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """One member's bytes, as the manifest vouches for them."""
        try:
            content = self._zip.read(name)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self._wrong(f"{name} can't be read ({error})") from error
        if hashlib.sha256(content).hexdigest() != self._files[name]["sha256"]:
            raise self._wrong(f"{name} does not match its digest")
        return content

    def beside(self, name: str) -> bytes | None:
        """A member beside the stores, or None where there is none of this name."""
        return self.read(name) if name in self._files else None

    def _checked_members(self) -> dict[str, Any]:
        """The manifest's files, which are all members there are; none is packed, none lies over another."""
        infos = self._zip.infolist()
        names = [info.filename for info in infos]
        packed = [i for i in infos if i.compress_type != zipfile.ZIP_STORED or i.file_size != i.compress_size]
        if packed or len(set(names)) < len(names) or sum(i.file_size for i in infos) > self.path.stat().st_size:
            raise self._wrong("its members are packed, repeated or lie over each other")
        self._manifest = json.loads(self._zip.read(MANIFEST))
        if self._manifest["format"] != FORMAT or self._manifest["version"] != VERSION:
            raise self._wrong(
                f"it is {self._manifest['format']} {self._manifest['version']}, and this version of hamcache reads "
                f"{FORMAT} {VERSION}; export it again with this version (`hamcache cache migrate` first), or update "
                "hamcache"
            )
        files: dict[str, Any] = self._manifest["files"]
        if {*files, MANIFEST} != set(names):
            raise self._wrong("its members are not those of its manifest")
        return files

    def _entry(self, described: Mapping[str, Any]) -> StoreEntry:
        key = FeatureKey.from_dict(described["key"])
        if not all(_SAFE_PART.fullmatch(part) for part in key.folder.split("/")) or key.folder.count("/") != 2:
            raise self._wrong(f"it names a store {key.folder!r}, which is no safe path")
        prefix = f"{FEATURES}/{key.folder}/"
        attributes = json.loads(self.read(f"{prefix}{GROUP}"))["attributes"]
        image_ids, n_views, dim = rows_in(self.read(f"{prefix}{ROWS}"), key), described["views"], described["dim"]
        chunk_rows = described.get("chunk_rows", CHUNK_ROWS)
        sizes = all(isinstance(size, int) and 0 <= size < 1 << 24 for size in (n_views, dim, chunk_rows))
        if (
            not sizes
            or not chunk_rows
            or not image_ids
            or len(set(image_ids)) < len(image_ids)
            or attributes["key"] != key.to_dict()
        ):
            raise self._wrong(f"its store {key.folder} contradicts itself")
        chunks = dict(self._chunks(prefix, -(-len(image_ids) // chunk_rows), n_views))
        return StoreEntry(key, image_ids, n_views, dim, chunk_rows, dict(attributes["provenance"]), chunks)

    def _chunks(self, prefix: str, n_chunks: int, n_views: int) -> Iterator[tuple[tuple[int, int], str]]:
        for member in self._files:
            name = member.removeprefix(prefix)
            if name == member or name in _DESCRIPTIONS:
                continue
            place = chunk_of(name)
            if not place or place[0] >= n_chunks or place[1] >= n_views:
                raise self._wrong(f"{member} is no chunk of its store")
            yield place, member

    def _wrong(self, what: str) -> FeatureArchiveError:
        return FeatureArchiveError(f"{self.path} can't be used: {what}.")
