"""Places where features lie: a local folder, or any fsspec URL (`s3://bucket/features`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fsspec
import google_crc32c
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

CHECKSUM_BYTES = 4
"""Zarr's Crc32cCodec, the last codec of every array here, appends this many bytes to a chunk."""


class Root:
    """A features root, local or remote, with the few file operations the cache needs beside Zarr's."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self.fs, self.path = fsspec.core.url_to_fs(self.url)
        self.is_local = (
            "file" in self.fs.protocol if isinstance(self.fs.protocol, tuple) else self.fs.protocol == "file"
        )

    def __repr__(self) -> str:
        return f"Root({self.url!r})"

    def join(self, *parts: str) -> str:
        """Path of something below the root."""
        return "/".join([self.path.rstrip("/"), *parts])

    def zarr_store(self, folder: str, read_only: bool = False) -> Store:
        """A Zarr store for a folder below the root."""
        if self.is_local:
            return LocalStore(self.join(folder), read_only=read_only)
        return FsspecStore.from_url(f"{self.url.rstrip('/')}/{folder}", read_only=read_only)

    def glob(self, pattern: str) -> list[str]:
        """Paths below the root, relative to it, sorted."""
        prefix = self.path.rstrip("/") + "/"
        return sorted(str(p).removeprefix(prefix) for p in self.fs.glob(self.join(pattern)))

    def files(self, folder: str) -> dict[str, int]:
        """Every file below a folder: path relative to the root, and its size in bytes."""
        prefix = self.path.rstrip("/") + "/"
        files = self.fs.find(self.join(folder), detail=True)
        return {str(p).removeprefix(prefix): int(info["size"]) for p, info in sorted(files.items())}

    def exists(self, *parts: str) -> bool:
        """True if a path below the root exists."""
        return bool(self.fs.exists(self.join(*parts)))

    def remove(self, *parts: str) -> None:
        """Remove a file or a folder with all in it."""
        self.fs.rm(self.join(*parts), recursive=True)

    def read_json(self, *parts: str) -> Any:
        """The content of a JSON file; raises FileNotFoundError or ValueError."""
        return json.loads(self.fs.cat_file(self.join(*parts)))

    def write_json(self, value: Any, *parts: str) -> None:
        """Write a JSON file whole or not at all."""
        data = (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
        path = self.join(*parts)
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if self.is_local:
            partial = Path(f"{path}.{os.getpid()}.partial")
            partial.write_bytes(data)
            partial.replace(path)
        else:
            self.fs.pipe_file(path, data)


def chunk_bytes(array: zarr.Array, *coordinates: int) -> bytes | None:
    """The encoded bytes of one chunk; None when it was never written, or is empty after a power loss."""
    key = f"{array.path}/{array.metadata.encode_chunk_key(coordinates)}"
    data = sync(array.store.get(key, prototype=default_buffer_prototype()))
    return data.to_bytes() or None if data is not None else None


def is_intact(encoded: bytes) -> bool:
    """True if a chunk's bytes match the crc32c that ends them (checked without decoding)."""
    stored = int.from_bytes(encoded[-CHECKSUM_BYTES:], "little")
    return len(encoded) > CHECKSUM_BYTES and google_crc32c.value(encoded[:-CHECKSUM_BYTES]) == stored
