"""Image files: the formats that are read here, and the one way to their bytes.

A path may name anything: a pipe that nobody writes to, a device that never ends, a file of a terabyte, a PostScript
program with the name of a photograph. Everything that looks at an image comes through here, so it either has an image's
bytes and header, or a reason.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hamcache.data.errors import BadImageError, UnreadImageError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (),
}
"""Formats that Pillow may try, with the suffixes that folders are searched for.

Pillow knows more formats, and hands some of them (EPS) to other programs."""
FORMATS = tuple(SUFFIXES)
IMAGE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

LARGEST_FILE = 512 * 1024 * 1024
"""Bytes: an image of as many pixels as are decoded, with 16 bits a channel and uncompressed."""
MOST_PIXELS = LARGEST_FILE // 6
"""Pillow's own limit, where it begins to warn of a decompression bomb."""

_MISSING = "file missing"
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_opening = threading.Lock()  # warnings are switched off for the whole process


@contextmanager
def image_file(path: str | Path) -> Iterator[BinaryIO]:
    """An image file opened to read, certain to be a regular file of a bounded size.

    Raises:
        UnreadImageError: there is none, it is something else or too large, or reading it fails.
    """
    try:
        _check(Path(path).stat())  # opening a device or a pipe can already do something
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 (a descriptor)
            _check(os.fstat(file.fileno()))
            yield file
    except FileNotFoundError:
        raise UnreadImageError(_MISSING) from None
    except BadImageError:
        raise
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise UnreadImageError(f"can't be read: {getattr(error, 'strerror', None) or error}") from None


def image_bytes(path: str | Path) -> bytes:
    """The bytes of an image file.

    Raises:
        UnreadImageError: they can't be had, or the file changed meanwhile.
    """
    with image_file(path) as file:
        before = os.fstat(file.fileno())
        content = file.read(before.st_size + 1) or b""
        after = os.fstat(file.fileno())
    if len(content) != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnreadImageError("changed while it was read")
    return content


def why_unread(path: str | Path) -> str:
    """The reason why a file gave no bytes; "file missing" as well where it is back by now."""
    try:
        image_bytes(path)
    except UnreadImageError as error:
        return str(error)
    return _MISSING


def open_image(file: BinaryIO) -> Image.Image:
    """Read the header of an image of one of `FORMATS`; its pixels are not decoded yet.

    Raises:
        BadImageError: it is none, its header is damaged, or it has too many pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with _opening, warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise BadImageError(f"not an image of a kind that is read here ({', '.join(FORMATS)})") from None
    except Exception as error:  # a damaged header raises anything
        raise refusal(error) from None
    if image.width * image.height > MOST_PIXELS:
        raise BadImageError(f"{image.width}x{image.height} pixels, more than the {MOST_PIXELS:,} that are decoded")
    return image


def refusal(error: Exception, doing: str = "decoded") -> BadImageError:
    """Whatever was raised over one image, as the reason why that image is left out."""
    if isinstance(error, BadImageError):
        return error
    if isinstance(error, MemoryError) or "alloc" in str(error) or "out of memory" in str(error):
        return UnreadImageError(f"not enough memory to be {doing}")
    text = " ".join(str(error).split())
    expected = isinstance(error, OSError | SyntaxError | ValueError) and text
    return BadImageError(f"can't be {doing}: {text if expected else f'{type(error).__name__} {text}'.strip()}")


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "something else")
        raise UnreadImageError(f"not a file, but {kind}")
    if status.st_size > LARGEST_FILE:
        raise UnreadImageError(f"{status.st_size:,} bytes, more than the {LARGEST_FILE:,} that are read")
