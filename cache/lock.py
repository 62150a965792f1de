"""One extraction at a time on a data set's stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hamcache.cache.errors import CacheInUseError
from hamcache.cache.storage import Root


@contextmanager
def writing(root: Root, dataset: str) -> Iterator[None]:
    """Hold the data set's write lock; the operating system frees it when the process ends, however it ends.

    A remote root has no lock: there, running one extraction at a time is the caller's promise.

    Raises:
        CacheInUseError: another process holds it.
    """
    if not root.is_local:
        yield
        return
    path = Path(root.join(dataset, ".lock"))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CacheInUseError(
            f"Another process is writing the features of {dataset!r} in {root.url}. Wait for it to end, then try again."
        ) from None
    try:
        yield
    finally:
        lock.release()
