"""One chunk file: the features of some rows under one view, which say themselves where they belong.

The file is what any Zarr reader expects of the array's codecs, zstd and crc32c: a zstd frame with the features (float32
or float16 `[rows, 1, dim]`, NaN where nothing was written), a label, and the crc32c of all of it. The label is a zstd
*skippable frame* (RFC 8878, 3.1.2), which decoders pass over. It holds, for every row, the sha256 of the image file
that the vector was made from (zeros: no vector), and a seal: the sha256 of the store's key, the numbers of chunk and
view, and the images of the rows. So a chunk is replaced in one step, digests and all; its label can be read without its
features; and sound bytes in the wrong place are as damaged as a flipped bit.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np
import pyarrow

from hamcache.cache.errors import StorageError
from hamcache.cache.keys import DEFAULT_STORAGE

DIGEST_BYTES = 32

_FRAME = struct.Struct("<II")  # magic number and size of a skippable frame
_MAGIC = 0x184D2A5E
_COUNT = struct.Struct("<I")
_CRC = struct.Struct("<I")
_ZSTD = pyarrow.Codec("zstd", compression_level=-1)  # a twelfth larger than level 1, read up to six times as fast


_NAME = re.compile(r"features/c/(\d{1,9})/(\d{1,9})/0")


def chunk_name(chunk: int, view: int) -> str:
    """Path of a chunk's file within its store, as Zarr names it."""
    return f"features/c/{chunk}/{view}/0"


def chunk_of(name: str) -> tuple[int, int] | None:
    """Chunk and view of a file within a store; None where it is no chunk."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


class DamagedChunkError(ValueError):
    """A chunk's bytes are not those that were written in this place; the message says in what they differ."""


@dataclass(frozen=True)
class Place:
    """The place of a chunk: nothing that was written elsewhere is read here.

    Attributes:
        key_digest: of the store.
        chunk, view: numbers.
        image_ids: of the chunk's rows, in order.
        rows: rows of a full chunk; the last one of a store may have fewer images.
        dim: length of a vector.
        storage: `float32` or `float16`.
    """

    key_digest: str
    chunk: int
    view: int
    image_ids: Sequence[str]
    rows: int
    dim: int
    storage: str = DEFAULT_STORAGE

    @property
    def label_bytes(self) -> int:
        """Size of the label with the checksum of the whole file behind it, the same for every chunk of a store."""
        return _label_bytes(self.rows)

    def seal(self, n_images: int) -> bytes:
        """sha256 of the place, as it was when the chunk had so many images (a store grows at its end)."""
        place = f"{self.key_digest}\0{self.chunk}\0{self.view}\0{self.dim}\0{n_images}\0"
        return hashlib.sha256((place + "\0".join(self.image_ids[:n_images])).encode()).digest()

    def fingerprint(self, digests: np.ndarray) -> str:
        """sha256 of the place and of the file digests uint8 `[n, 32]` of its images: of all that a label says."""
        return hashlib.sha256(self.seal(len(self.image_ids)) + digests.tobytes()).hexdigest()


def views_among(names: Iterable[str], n_chunks: int) -> int:
    """Views of which there is a chunk file, by the names of files below a store's folder and its number of chunks."""
    places = (place for place in map(chunk_of, names) if place)
    return max((view + 1 for chunk, view in places if chunk < n_chunks), default=0)


def _label_bytes(rows: int) -> int:
    return _FRAME.size + DIGEST_BYTES + _COUNT.size + rows * DIGEST_BYTES + 2 * _CRC.size


def rows_in(content: bytes, step: int) -> int | None:
    """Rows that a chunk file has room for, of which `step` is a divisor; None where no label says so."""
    for rows in range(step, len(content) // DIGEST_BYTES, step):
        label = content[-_label_bytes(rows) : -_CRC.size]
        if len(label) + _CRC.size == _label_bytes(rows) and _FRAME.unpack_from(label) == (
            _MAGIC,
            len(label) - _FRAME.size,
        ):
            return rows
    return None


def as_stored(features: np.ndarray, storage: str) -> np.ndarray:
    """Float32 features as the numbers that a store keeps. NaN stays.

    Raises:
        StorageError: float16 does not reach so far.
    """
    if storage == DEFAULT_STORAGE:
        return features
    with np.errstate(over="ignore"):
        rounded = features.astype(storage)
    if np.isinf(rounded).any():
        largest, most = np.nanmax(np.abs(features)), np.finfo(storage).max
        raise StorageError(
            f"Expected features between -{most:,.0f} and {most:,.0f} for storage {storage}, got {largest:,.0f}. "
            f"Extract with `--storage {DEFAULT_STORAGE}`."
        )
    return rounded


def encode(place: Place, features: np.ndarray, digests: np.ndarray) -> bytes:
    """The bytes of a chunk file.

    Args:
        place: where it belongs.
        features: float32 `[n, dim]` of the chunk's images, NaN where there is no vector.
        digests: uint8 `[n, 32]`, zeros where there is no vector.
    """
    n_images = len(place.image_ids)
    vectors = np.full((place.rows, place.dim), np.nan, dtype=np.dtype(place.storage).newbyteorder("<"))
    vectors[:n_images] = as_stored(features, place.storage)
    made_from = np.zeros((place.rows, DIGEST_BYTES), dtype=np.uint8)
    made_from[:n_images] = digests
    label = place.seal(n_images) + _COUNT.pack(n_images) + made_from.tobytes()
    label += _CRC.pack(google_crc32c.value(label))
    content = _ZSTD.compress(vectors, asbytes=True) + _FRAME.pack(_MAGIC, len(label)) + label
    return content + _CRC.pack(google_crc32c.value(content))


def read_label(place: Place, end: bytes) -> np.ndarray:
    """File digests uint8 `[n, 32]` of the chunk's images, from the end of the file alone (`label_bytes`).

    Raises:
        DamagedChunkError: the label is not one that was written for this place.
    """
    end = end[-place.label_bytes :]
    if len(end) < place.label_bytes:
        raise DamagedChunkError("is empty" if not end else "is cut short")
    magic, size = _FRAME.unpack_from(end)
    label = end[_FRAME.size : -_CRC.size]
    (checksum,) = _CRC.unpack(label[-_CRC.size :])
    label = label[: -_CRC.size]
    if magic != _MAGIC or size != len(label) + _CRC.size or google_crc32c.value(label) != checksum:
        raise DamagedChunkError("has no sound label")
    (n_images,) = _COUNT.unpack_from(label, DIGEST_BYTES)
    if n_images > len(place.image_ids) or label[:DIGEST_BYTES] != place.seal(n_images):
        raise DamagedChunkError("was written for another place")
    digests = np.zeros((len(place.image_ids), DIGEST_BYTES), dtype=np.uint8)
    made_from = np.frombuffer(label, np.uint8, offset=DIGEST_BYTES + _COUNT.size).reshape(-1, DIGEST_BYTES)
    digests[:n_images] = made_from[:n_images]
    return digests


def check(place: Place, content: bytes) -> np.ndarray:
    """File digests of a chunk of which every byte was checked; see `read_label`."""
    digests = read_label(place, content)
    (checksum,) = _CRC.unpack(content[-_CRC.size :])
    if google_crc32c.value(content[: -_CRC.size]) != checksum:
        raise DamagedChunkError("does not match its checksum")
    return digests


def decode(place: Place, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Features `[n, dim]`, as they are stored (read-only), and file digests uint8 `[n, 32]` of the chunk's images.

    Raises:
        DamagedChunkError: a byte is not as it was written, or not in its place.
    """
    digests = check(place, content)
    packed = memoryview(content)[: -place.label_bytes]
    try:
        dtype = np.dtype(place.storage).newbyteorder("<")
        unpacked = _ZSTD.decompress(packed, decompressed_size=place.rows * place.dim * dtype.itemsize)
        vectors = np.frombuffer(unpacked, dtype).reshape(place.rows, place.dim)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DamagedChunkError("does not unpack to its size") from error
    return vectors[: len(place.image_ids)], digests
