"""Arrays that may be larger than memory: those that do not fit lie in a temporary file, and are used like any other."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import numpy as np
from numpy.typing import NDArray

from hamcache.data.errors import NoMemoryError
from hamcache.data.room import lack_of_room

SHARE = 0.25
"""Share of the free memory that one array may take: features, their training rows and what a head sees of them are
three, and the rest of the process wants its part."""
_ON_DISK = Path("/var/tmp")
"""Folder of temporary files that is on a disk by convention; `/tmp` may be memory itself."""


def large_array(shape: Sequence[int]) -> NDArray[np.float32]:
    """An array of float32 to be filled.

    Where it would take more than a share of the free memory, it is mapped from a file in `TMPDIR` (or `/var/tmp`) that
    has no name, and is gone when nothing refers to the array any more, however the process ends.

    Raises:
        NoMemoryError: It fits neither memory nor the disk.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * 4
    if n_bytes <= SHARE * free_memory():
        return np.empty(shape, dtype=np.float32)
    folder = os.environ.get("TMPDIR") or (_ON_DISK if _ON_DISK.is_dir() else gettempdir())
    try:
        with TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # else a disk that gets full would end the process by a signal
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(
                file, np.float32, mode="r+" if hasattr(os, "posix_fallocate") else "w+", shape=tuple(shape)
            )
    except OSError as error:
        if (reason := lack_of_room(error)) is None:
            raise
        raise NoMemoryError(
            f"Expected {n_bytes / 1e9:,.1f} GB for features in memory or in a temporary file in {folder}, got: "
            f"{reason}. "
            "Take fewer views or images, or name a folder on a larger disk: `TMPDIR=/large/disk hamcache ...`."
        ) from error


def rows_of(array: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """A copy of some rows, in this order."""
    out = large_array((len(rows), *array.shape[1:]))
    np.take(array, rows, axis=0, out=out, mode="clip")  # "raise" would copy once more
    return out


def free_memory() -> int:
    """Bytes of memory that can be had without swapping."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)
