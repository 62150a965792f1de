"""Room on a disk or in memory: errors of any library that mean there is none, told from others and put into words."""

import errno
import os
import re
from pathlib import Path

from hamcache.data.errors import NotWrittenError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_TEXTS = "|".join([*(re.escape(os.strerror(number)) for number in sorted(NO_ROOM)), r"\d+ requested and \d+ written"])
"""What libraries make of these errors that keep no number: safetensors, NumPy, zip files, workers elsewhere."""
_NO_MEMORY = (
    "can't start new thread|[Ll]aunch worker thread|[Cc]an't allocate memory|Cannot allocate memory|bad_alloc|"
    "could not create a primitive|CUDA out of memory"
)
"""What libraries make of a lack of memory, PyTorch and Arrow among them."""


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


def lacks_memory(error: BaseException | None) -> bool:
    """True if an error or one that led to it means that there is too little memory, for a thread too."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, MemoryError) or re.search(_NO_MEMORY, str(error)):
            return True
        seen.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def not_written(path: Path | str, reason: str) -> NotWrittenError:
    """The error for a file that its disk does not take."""
    return NotWrittenError(
        f"Expected to write {path}, got: {reason}. Make room there, or choose another place with --workspace or --out. "
        "What was finished before is kept; give the same command again to go on."
    )
