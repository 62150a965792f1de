"""Room on a disk: errors of any library that mean there is none, told from others and put into words."""

import errno
import os
import re
from pathlib import Path

from hamcache.data.errors import NotWrittenError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_TEXTS = "|".join([*(re.escape(os.strerror(number)) for number in sorted(NO_ROOM)), r"\d+ requested and \d+ written"])
"""What libraries make of these errors that keep no number: safetensors, NumPy, zip files, workers elsewhere."""


def lack_of_room(error: BaseException | None) -> str | None:
    """The system's words for a disk that takes no more, if an error or one that led to it means that; else None."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if getattr(error, "errno", None) in NO_ROOM:
            return os.strerror(error.errno)  # type: ignore[attr-defined]
        if (found := re.search(_TEXTS, str(error))) is not None:
            return found[0]
        seen.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def not_written(path: Path | str, reason: str) -> NotWrittenError:
    """The error for a file that its disk does not take."""
    return NotWrittenError(
        f"Expected to write {path}, got: {reason}. Make room there, or choose another place with --workspace or --out. "
        "What was finished before is kept; give the same command again to go on."
    )
