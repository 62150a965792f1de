"""A check that the disk has room, before it is too late."""

import shutil
from pathlib import Path

from hamcache.data.errors import DownloadError

RESERVE = 100_000_000  # bytes that are left free for everything else


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise DownloadError where the disk of `folder` has no room for `needed` more bytes."""
    free = shutil.disk_usage(folder).free
    if needed > 0 and needed + RESERVE > free:
        raise DownloadError(
            f"{what}: {(needed + RESERVE) / 1e6:,.0f} MB are needed in {folder}, but only {free / 1e6:,.0f} MB are "
            "free. Make room there, or choose another disk with --folder."
        )
