"""Thumbnails of many images on few pictures, from which a page cuts out the one that is wanted."""

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hamcache.data.errors import BadImageError
from hamcache.data.files import write_bytes
from hamcache.data.threaded import in_threads
from hamcache.extract.decode import picture_file

SIDE = 72
"""Pixels of the longer side of a thumbnail."""
COLUMNS = 16
ON_A_PAGE = COLUMNS * COLUMNS
QUALITY = 60
TRIED = 16
"""Images whose shape decides that of all places."""
THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Atlas:
    """Pages of thumbnails.

    Attributes:
        pages: `data:` URIs; `COLUMNS` places in a row, `ON_A_PAGE` on a page.
        cell: Width and height of a place, in pixels; a thumbnail is in the middle of its own.
    """

    pages: list[str]
    cell: tuple[int, int]


def make_atlas(images: Sequence[tuple[str, str]], folder: Path, on_image: Callable[[int], None] | None = None) -> Atlas:
    """Draw the thumbnails of images, or find the pages that were drawn before of the same bytes.

    Args:
        images: File and digest of each; one that cannot be decoded leaves its place grey.
        folder: Keeps the pages.
        on_image: Takes the number of images done.
    """
    cell = _cell([path for path, _ in images[:: -(-len(images) // TRIED)]])
    pages = []
    for start in range(0, len(images), ON_A_PAGE):
        content = _page(images[start : start + ON_A_PAGE], cell, folder)
        pages.append(f"data:image/webp;base64,{base64.b64encode(content).decode()}")
        if on_image:
            on_image(min(start + ON_A_PAGE, len(images)))
    return Atlas(pages, cell)


def _cell(paths: Sequence[str]) -> tuple[int, int]:
    """A place as most images need it."""
    shapes = [image.height / image.width for path in paths if (image := _thumbnail(path, (SIDE, SIDE))) is not None]
    ratio = float(np.median(shapes)) if shapes else 1.0
    return (SIDE, max(1, round(SIDE * ratio))) if ratio <= 1 else (max(1, round(SIDE / ratio)), SIDE)


def _page(images: Sequence[tuple[str, str]], cell: tuple[int, int], folder: Path) -> bytes:
    named = json.dumps([cell, COLUMNS, QUALITY, [digest for _, digest in images]])
    path = folder / f"thumbnails-{hashlib.sha256(named.encode()).hexdigest()[:16]}.webp"
    with suppress(BadImageError, OSError):
        picture_file(path)  # a damaged page is made anew
        return path.read_bytes()
    width, height = cell
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(images) // COLUMNS) * height), "#888888")
    thumbnails = in_threads(lambda path: _thumbnail(path, cell), [path for path, _ in images], THREADS)
    for number, thumbnail in enumerate(thumbnails):
        if thumbnail is not None:
            left = number % COLUMNS * width + (width - thumbnail.width) // 2
            sheet.paste(thumbnail, (left, number // COLUMNS * height + (height - thumbnail.height) // 2))
    file = io.BytesIO()
    sheet.save(file, "WEBP", quality=QUALITY)
    write_bytes(path, file.getvalue())
    return file.getvalue()


def _thumbnail(path: str, room: tuple[int, int]) -> Image.Image | None:
    try:
        image = picture_file(path)
    except BadImageError:
        return None
    image.thumbnail(room, Image.Resampling.BOX)
    return image
