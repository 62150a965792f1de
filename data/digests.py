"""The digest of each image's bytes, computed once and remembered."""

import csv
import hashlib
import io
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from hamcache.data.errors import UnreadImageError
from hamcache.data.files import write_text
from hamcache.data.image_files import image_bytes
from hamcache.data.table import ImageTable
from hamcache.data.threaded import in_threads

MISSING = "missing"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = ["path", "size", "mtime_ns", "digest"]
# Two writes within one tick of the file system's clock leave the same time stamp (git calls such a file "racily
# clean"), so what was written just before it was hashed is not remembered.
_SETTLED_NS = 2_000_000_000

Stamp = tuple[int, int]  # size in bytes, time of the last change in ns


def file_digests(table: ImageTable, memory: Path | None = None, rehash: bool = False) -> dict[str, str]:
    """sha256 (hex) of the bytes of each image's file, by image_id; `MISSING` where no file can be read.

    With `memory` (a CSV file, made when it is not there) a digest is taken from it as long as the file's path, size
    and time of change are as they were, and only the others are computed; `rehash=True` computes all anew. A memory
    that cannot be read is made anew. Of a table that came without its images, those that are not here have the digests
    that came with it.
    """
    remembered = _read_memory(memory) if memory is not None else {}
    paths = list(table.frame["path"])
    stamps = [_stamp(path) for path in paths]

    known = {
        path: remembered[path][1]
        for path, stamp in zip(paths, stamps, strict=True)
        if not rehash and stamp is not None and path in remembered and remembered[path][0] == stamp
    }
    to_hash = {path: stamp for path, stamp in zip(paths, stamps, strict=True) if path not in known and stamp}
    computed = dict(zip(to_hash, in_threads(_digest, list(to_hash), min(4, os.cpu_count() or 1)), strict=True))

    if memory is not None and (computed or not memory.exists()):
        settled_before = time.time_ns() - _SETTLED_NS
        for path, digest in computed.items():
            remembered.pop(path, None)
            if digest != MISSING and to_hash[path][1] < settled_before:
                remembered[path] = (to_hash[path], digest)
        with suppress(OSError):  # it only saves time: a disk that takes no file is no reason to fail
            _write_memory(memory, remembered)
    digests = {**known, **computed}
    found = {i: digests.get(path, MISSING) for i, path in zip(table.frame["image_id"], paths, strict=True)}
    return {i: table.digests.get(i, MISSING) if digest == MISSING else digest for i, digest in found.items()}


def _stamp(path: str) -> Stamp | None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return None
    return status.st_size, status.st_mtime_ns


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(image_bytes(path)).hexdigest()
    except UnreadImageError:
        return MISSING


def _read_memory(memory: Path) -> dict[str, tuple[Stamp, str]]:
    """The remembered digests, by path; none at all where the file is absent or anything in it is wrong."""
    try:
        header, *rows = csv.reader(io.StringIO(memory.read_text(encoding="utf-8"), newline=""), strict=True)
        entries = {path: ((int(size), int(mtime_ns)), digest) for path, size, mtime_ns, digest in rows}
        intact = header == _HEADER and all(_is_sha256(digest) for _, digest in entries.values())
    except (OSError, ValueError, csv.Error):
        return {}
    return entries if intact else {}


def _is_sha256(digest: str) -> bool:
    return _SHA256.fullmatch(digest) is not None


def _write_memory(memory: Path, entries: dict[str, tuple[Stamp, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((path, *stamp, digest) for path, (stamp, digest) in sorted(entries.items()))
    write_text(memory, text.getvalue())
