"""Images decoded once and kept as bytes in one memory-mapped file, for networks that see them again every epoch."""

import hashlib
import json
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from hamcache.data.digests import MISSING
from hamcache.data.documents import parse_json
from hamcache.data.errors import BadImageError, UnreadImageError
from hamcache.data.files import flush, flush_all, write_text
from hamcache.data.image_files import image_bytes, refusal
from hamcache.extract.decode import decode_image

VERSION = 1
"""Raised when decoding or the layout of the file changes: older files are then decoded again."""


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images by id; their pixels stay on disk (or wherever the system caches them) until they are asked for.

    Attributes:
        pixels: uint8, all images one after the other, each as `[height, width, 3]`.
        places: image id -> where in `pixels` it begins, its height and its width.
        bad: image id -> why it could not be decoded.
        digests: image id -> sha256 of the bytes that it was decoded from, or that could not be decoded.
    """

    pixels: NDArray[np.uint8]
    places: dict[str, tuple[int, int, int]]
    bad: dict[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, image_id: str) -> Tensor:
        """The image as uint8 `[3, height, width]`."""
        start, height, width = self.places[image_id]
        image = np.array(self.pixels[start : start + height * width * 3]).reshape(height, width, 3)
        return torch.from_numpy(image).permute(2, 0, 1)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def ids(self) -> list[str]:
        """Image ids, in the order of the file."""
        return list(self.places)


def in_memory(images: Mapping[str, Tensor]) -> DecodedImages:
    """Decoded images (uint8 `[3, h, w]` of any sizes) as what networks take, e.g. to predict new ones."""
    places, start = {}, 0
    for image_id, image in images.items():
        places[image_id] = (start, int(image.shape[1]), int(image.shape[2]))
        start += image.numel()
    parts = [image.permute(1, 2, 0).numpy().ravel() for image in images.values()]
    return DecodedImages(np.concatenate(parts) if parts else np.empty(0, np.uint8), places)


def decode_all(
    paths: Mapping[str, str],
    digests: Mapping[str, str],
    folder: Path,
    stored_side: int | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> DecodedImages:
    """Decode these images, unless a file with just these is there.

    Images whose short side is longer than `stored_side` are reduced to it, antialiased; smaller ones stay as they are.
    One that cannot be decoded is left out and named in `bad`. The file is found by the digests of the bytes that were
    really read.

    Args:
        paths: image id -> file.
        digests: image id -> sha256 of its bytes; a changed image makes another file.
        folder: where decoded images are kept; the file's folder gets a name of its own in there.
        stored_side: pixels, or None for no reduction.
        on_progress: called with the images done and their number.
    """
    digests = {image_id: digests[image_id] for image_id in paths}
    target = folder / _name(digests, stored_side)
    if (found := _found(target, digests)) is None:
        partial = folder / f".partial-{uuid.uuid4().hex[:12]}"
        partial.mkdir(parents=True)
        try:
            digests = _write(partial, paths, stored_side, on_progress)
            flush_all(partial)
            target = folder / _name(digests, stored_side)
            if _found(target, digests) is None:
                shutil.rmtree(target, ignore_errors=True)
                partial.rename(target)
                flush(folder)
        except OSError:
            if _found(target, digests) is None:  # else another process was first
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        found = _found(target, digests)
    assert found is not None
    return found


def _found(folder: Path, digests: Mapping[str, str]) -> DecodedImages | None:
    """The decoded images in a folder; None where it is absent or damaged."""
    try:
        index = parse_json((folder / "index.json").read_bytes())
        places = {str(image_id): (int(at), int(height), int(width)) for image_id, at, height, width in index["images"]}
        pixels = np.memmap(folder / "pixels.bin", np.uint8, mode="r") if places else np.empty(0, np.uint8)
        end = max((start + height * width * 3 for start, height, width in places.values()), default=0)
        return DecodedImages(pixels, places, dict(index["bad"]), digests) if end == len(pixels) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _name(digests: Mapping[str, str], stored_side: int | None) -> str:
    wanted = [VERSION, stored_side, sorted(digests.items())]
    return f"{stored_side or 'full'}-{hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:12]}"


def _write(
    folder: Path, paths: Mapping[str, str], stored_side: int | None, on_progress: Callable[[int, int], None] | None
) -> dict[str, str]:
    """Decode the images into a folder; return the digest of the bytes of each."""
    digests: dict[str, str] = {}
    images: list[tuple[str, int, int, int]] = []
    bad: dict[str, str] = {}
    start = 0

    def decode(image_id: str) -> Tensor | BadImageError:
        try:
            data = image_bytes(paths[image_id])
            digests[image_id] = hashlib.sha256(data).hexdigest()
            return reduced(decode_image(data), stored_side)
        except Exception as error:  # whatever one image does must not cost the others
            return refusal(error)

    ids = sorted(paths)
    with (folder / "pixels.bin").open("wb") as file:
        for number, decoded in enumerate(ahead(decode, ids, default_threads()), start=1):
            image_id = ids[number - 1]
            if isinstance(decoded, UnreadImageError):
                digests[image_id] = MISSING  # tried again when it can be read
            if isinstance(decoded, BadImageError):
                bad[image_id] = str(decoded)
            else:
                images.append((image_id, start, int(decoded.shape[1]), int(decoded.shape[2])))
                start += file.write(np.ascontiguousarray(decoded.permute(1, 2, 0).numpy()).data)
            if on_progress:
                on_progress(number, len(ids))
    write_text(folder / "index.json", json.dumps({"images": images, "bad": bad}))
    return digests


def reduced(image: Tensor, stored_side: int | None) -> Tensor:
    """An image whose short side is longer than `stored_side` reduced to it, antialiased; any other as it is."""
    if stored_side is not None and min(image.shape[1:]) > stored_side:
        image = F.resize(image, [stored_side], antialias=True)
    return image


Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], threads: int, waiting: int = 64) -> Iterator[Made]:
    """`map`, with threads that work up to `waiting` items ahead of whoever takes the results; order is kept."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="images")
    queue: deque[Future[Made]] = deque()
    try:
        for item in items:
            queue.append(pool.submit(make, item))
            if len(queue) > waiting:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def default_threads() -> int:
    """Threads that prepare images: one per core, 16 at most."""
    return min(16, os.cpu_count() or 1)
