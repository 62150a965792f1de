"""The digest of each image's bytes, computed once and remembered."""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv

from hamcache.data.errors import UnreadImageError
from hamcache.data.files import write_csv
from hamcache.data.image_files import image_bytes
from hamcache.data.table import ImageTable
from hamcache.data.threaded import in_threads

MISSING = "missing"

_SHA256 = r"[0-9a-f]{64}"
_STAMP = ["size", "mtime_ns"]
_COLUMNS = {
    "path": pyarrow.large_string(),
    "size": pyarrow.int64(),
    "mtime_ns": pyarrow.int64(),
    "digest": pyarrow.large_string(),
}
# Two writes within one tick of the file system's clock leave the same time stamp (git calls such a file "racily
# clean"), so what was written just before it was hashed is not remembered.
_SETTLED_NS = 2_000_000_000


def file_digests(table: ImageTable, memory: Path | None = None, rehash: bool = False) -> dict[str, str]:
    """sha256 (hex) of the bytes of each image's file, by image_id; `MISSING` where no file can be read.

    With `memory` (a CSV file, made when it is not there) a digest is taken from it as long as the file's path, size
    and time of change are as they were, and only the others are computed; `rehash=True` computes all anew. A memory
    that cannot be read is made anew. Of a table that came without its images, those that are not here have the digests
    that came with it.
    """
    codes, files = pd.factorize(table.frame["path"])
    paths = files.tolist()
    stamps = np.array([_stamp(path) for path in paths], dtype=np.int64).reshape(-1, len(_STAMP))
    remembered = _read_memory(memory)
    place = pd.Index(remembered["path"]).get_indexer(pd.Index(files))
    known = (
        (place >= 0) & (remembered[_STAMP].to_numpy()[place] == stamps).all(axis=1) if len(remembered) else place >= 0
    )
    known &= not rehash
    digests = np.full(len(paths), MISSING, dtype=object)
    digests[known] = remembered["digest"].to_numpy(dtype=object)[place[known]]
    absent = stamps[:, 0] < 0
    to_hash = np.flatnonzero(~known & ~absent)
    computed = list(in_threads(_digest, [paths[n] for n in to_hash], min(4, os.cpu_count() or 1)))
    digests[to_hash] = computed

    if memory is not None and (computed or not memory.exists()):
        settled = to_hash[(digests[to_hash] != MISSING) & (stamps[to_hash, 1] < time.time_ns() - _SETTLED_NS)]
        new = pd.DataFrame(stamps[settled], columns=_STAMP).assign(path=files[settled], digest=digests[settled])
        kept = remembered[~remembered["path"].isin(files[to_hash])]
        with suppress(OSError):  # it only saves time: a disk that takes no file is no reason to fail
            write_csv(memory, pd.concat([kept, new])[list(_COLUMNS)].sort_values("path"))
    found = dict(zip(table.frame["image_id"].tolist(), digests[codes].tolist(), strict=True))
    if table.digests:
        found = {i: table.digests.get(i, MISSING) if digest == MISSING else digest for i, digest in found.items()}
    return found


def _stamp(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; negative sizes are of files that are not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path costs twice as much as the system call)
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(image_bytes(path)).hexdigest()
    except UnreadImageError:
        return MISSING


def _read_memory(memory: Path | None) -> pd.DataFrame:
    """The remembered digests, a row a path; none at all where the file is absent or anything in it is wrong."""
    try:
        table = pyarrow.csv.read_csv(
            "" if memory is None else str(memory),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=_COLUMNS, null_values=[]),
        )
        frame = table.to_pandas()
        if list(frame) == list(_COLUMNS) and frame["digest"].str.fullmatch(_SHA256).all() and frame["path"].is_unique:
            return frame
    except (OSError, ValueError):
        pass
    return pd.DataFrame({name: pd.Series(dtype=kind.to_pandas_dtype()) for name, kind in _COLUMNS.items()})
